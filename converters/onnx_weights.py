"""Integer weights for ONNX: linear layers, embedding tables, convolutions and recurrent layers, node by node.

int8_dynamic    a linear layer quantizes its input at run time and multiplies integers (see `onnx_dynamic`).
int8_weights    a linear layer becomes MatMulNBits: blocks of 32 weights share a scale, products are float.
int4_weights    MatMulNBits in groups as large as the recipe says; activations are quantized block by block.

Embedding tables become int8 with a scale per row, gathered before they are dequantized, in standard operators only; at
4 bits GatherBlockQuantized, which does both.
Convolutions and recurrent layers keep int8 weights that are dequantized when the model runs.
Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.converters.onnx_dynamic import DynamicLayer, dynamic_layers, integer_array, round_rows
from edgekit.converters.onnx_dynamic_inputs import dynamic_inputs, static_shapes
from edgekit.converters.onnx_precisions import node_precisions
from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.converters.onnx_static import consumers, drop_unread_weights
from edgekit.quantization.grouped_weights import round_groups
from edgekit.recipe import Precision, Recipe

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

BLOCK: Final = 32
"""Weights that share a scale at 8 bits: onnxruntime's smallest and most exact."""

_WEIGHT_PRECISIONS: Final[tuple[Precision, ...]] = ("int8_dynamic", "int8_weights", "int4_weights")
_WITHOUT_RANGES: Final = ("Gather", "LSTM", "GRU", "RNN")
_NARROW: Final = 8  # a recurrent layer's input weights with so many times more rows than columns stay half floats
_MICROSOFT: Final = "com.microsoft"
_INTEGER_PRODUCTS: Final = 4  # MatMulNBits' accuracy level that quantizes activations to int8 block by block
_FLOAT_PRODUCTS: Final = 1


def quantize_weights(
    graph: OnnxFloatGraph, recipe: Recipe, notes: list[str], samples: Path | None = None
) -> onnx.ModelProto:
    """Returns the model, changed: its weights are integers where the recipe asks for it.

    Args:
        graph: The float model, or one whose other nodes are quantized already. It is changed: a copy would be all
            weights once more.
        recipe: Which nodes, how many bits, how large the groups of 4-bit weights are.
        notes: List that gains what was decided.
        samples: Calibration sample folder, None where there is none; linear layers with ranges at run time gain by it.
    """
    model = graph.model
    editor = _Editor(model.graph, recipe, static_shapes(model))
    precisions = node_precisions(graph, recipe)
    for node in list(model.graph.node):
        precision = precisions[node.name]
        # Static ranges help neither a table nor a recurrent layer: these get integer weights there too.
        if precision in _WEIGHT_PRECISIONS or (precision == "int8_static" and node.op_type in _WITHOUT_RANGES):
            editor.quantize(node, precision)
    editor.finish(model, samples)
    if editor.convolutions:
        notes.append(
            f"{editor.convolutions} convolutions compute in float with int8 weights: onnxruntime's dynamic integer "
            "convolution is several times slower than float. Use int8 (static) for integer convolutions."
        )
    if editor.recurrent:
        notes.append(
            f"{editor.recurrent} recurrent layers compute in float with int8 weights: onnxruntime's dynamic LSTM has "
            "one scale for a whole sequence, which loses most of the accuracy."
        )
    return model


@final
class _Editor:
    """Replaces nodes of one graph, and keeps each weight only once."""

    def __init__(self, graph: onnx.GraphProto, recipe: Recipe, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._graph = graph
        self._shapes = shapes
        self._dynamic: dict[str, list[DynamicLayer]] = {}
        self._readers = consumers(graph)
        self._recipe = recipe
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._added: set[str] = set()
        self._nodes: dict[str, list[onnx.NodeProto]] = {}
        self._uses_microsoft = False
        self.convolutions = 0
        self.recurrent = 0

    def quantize(self, node: onnx.NodeProto, precision: Precision) -> None:
        """Replaces one node if it has constant float weights of a kind that is known."""
        if node.op_type == "MatMul" and self._values(node.input[1]) is not None:
            self._linear(node, precision, node.input[1], transposed=False, bias=None)
        elif node.op_type == "Gemm" and self._plain_gemm(node):
            self._linear(
                node,
                precision,
                node.input[1],
                transposed=bool(_attribute(node, "transB", 0)),
                bias=node.input[2] if len(node.input) > 2 and node.input[2] else None,
            )
        elif node.op_type == "Gather" and _attribute(node, "axis", 0) == 0:
            self._table(node, precision)
        elif node.op_type == "Conv":
            self._stored(node, axis=0)
            self.convolutions += 1
        elif node.op_type == "ConvTranspose":
            self._stored(node, axis=1)
            self.convolutions += 1
        elif node.op_type in ("LSTM", "GRU", "RNN"):
            self._recurrent_weights(node)

    def finish(self, model: onnx.ModelProto, samples: Path | None) -> None:
        """Puts the new nodes in place of the old ones and drops weights that nobody reads any more."""
        import onnx

        opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
        for given in dynamic_inputs(model, self._dynamic, self._shapes, samples) if self._dynamic else ():
            for name, made in dynamic_layers(given, self._dynamic[given.name], self._add, opset).items():
                self._nodes[name] = [*made, *self._nodes.get(name, [])]
            self._uses_microsoft = True
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            nodes.extend(self._nodes.get(node.name, [node]))
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        if self._dynamic:
            _keep_sums_apart(self._graph)
        drop_unread_weights(self._graph)
        if self._uses_microsoft and all(opset.domain != _MICROSOFT for opset in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(_MICROSOFT, 1))

    def _linear(
        self, node: onnx.NodeProto, precision: Precision, name: str, *, transposed: bool, bias: str | None
    ) -> None:
        """MatMul or Gemm to MatMulNBits (com.microsoft): Y = X dequantized(B)^T + bias."""
        import onnx

        weights = self._values(name)
        if weights is None or weights.ndim != 2:
            return
        rows = weights if transposed else weights.T
        bits = 4 if precision == "int4_weights" else 8
        block = self._recipe.group_size if bits == 4 else BLOCK
        if precision == "int8_dynamic" and node.input[0] in self._shapes:
            self._dynamic.setdefault(node.input[0], []).append(self._dynamic_layer(node, rows, bias))
            return
        packed, scales = pack_blocks(rows, bits, block)
        level = _FLOAT_PRODUCTS if precision == "int8_weights" else _INTEGER_PRODUCTS
        suffix = f"{name}.{'t' if transposed else 'n'}{bits}b{block}"
        inputs = [node.input[0], self._add(f"{suffix}.weight", packed), self._add(f"{suffix}.scale", scales)]
        if bias is not None:
            inputs += ["", "", bias]
        self._nodes[node.name] = [
            onnx.helper.make_node(
                "MatMulNBits",
                inputs,
                list(node.output),
                name=node.name,
                domain=_MICROSOFT,
                K=rows.shape[1],
                N=rows.shape[0],
                bits=bits,
                block_size=block,
                accuracy_level=level,
            )
        ]
        self._uses_microsoft = True

    def _dynamic_layer(self, node: onnx.NodeProto, rows: NDArray[np.float32], bias: str | None) -> DynamicLayer:
        """Returns a linear layer with its bias, also one that is added by a node of its own: that node goes."""
        import onnx

        width, output, added = rows.shape[0], node.output[0], self._added_after(node, rows.shape[0])
        values = None if bias is None else self._vector(bias, width)
        if bias is None and added is not None:
            values = self._vector(next(name for name in added.input if name != output), width)
            output = added.output[0]
            self._nodes[added.name] = []
        elif bias is not None and values is None:  # of a shape that the products do not take, or computed
            output = f"{node.name}.unbiased"
            self._nodes[node.name] = [
                onnx.helper.make_node("Add", [output, bias], list(node.output), name=f"{node.name}.bias")
            ]
        return DynamicLayer(name=node.name, output=output, rows=rows, bias=values)

    def _added_after(self, node: onnx.NodeProto, width: int) -> onnx.NodeProto | None:
        """Returns the node that adds a vector to what `node` writes, if nobody else reads that."""
        readers = self._readers.get(node.output[0], [])
        add = readers[0] if len(readers) == 1 else None
        if add is None or add.op_type != "Add":
            return None
        stored = [name for name in add.input if name in self._weights]
        return add if len(stored) == 1 and self._vector(stored[0], width) is not None else None

    def _vector(self, name: str, width: int) -> NDArray[np.float32] | None:
        """Returns a constant of one number, or of one for each output, as (width,); None for any other value."""
        import numpy as np

        values = self._values(name)
        if values is None or values.ndim > 1 or values.size not in (1, width):
            return None
        vector: NDArray[np.float32] = np.broadcast_to(values.reshape(-1), (width,))
        return vector

    def _table(self, node: onnx.NodeProto, precision: Precision) -> None:
        """Gather of a table's rows: gather integers and their scales, then multiply."""
        import onnx

        table = self._values(node.input[0])
        if table is None or table.ndim != 2:
            return
        name, made = node.input[0], node.name
        group = self._recipe.table_group(table.shape[1]) if precision == "int4_weights" else None
        if group is not None:
            self._table_in_groups(node, table, group)
            return
        quantized, scale = round_rows(table)
        integers, scales = self._add(f"{name}.int8", quantized), self._add(f"{name}.scale", scale)
        self._nodes[node.name] = [
            onnx.helper.make_node("Gather", [integers, node.input[1]], [f"{made}.rows"], name=made, axis=0),
            onnx.helper.make_node("Gather", [scales, node.input[1]], [f"{made}.scales"], name=f"{made}.scale", axis=0),
            onnx.helper.make_node(
                "Cast", [f"{made}.rows"], [f"{made}.float"], name=f"{made}.cast", to=onnx.TensorProto.FLOAT
            ),
            onnx.helper.make_node(
                "Mul", [f"{made}.float", f"{made}.scales"], list(node.output), name=f"{made}.multiply"
            ),
        ]

    def _table_in_groups(self, node: onnx.NodeProto, table: NDArray[np.float32], group: int) -> None:
        """Gather of a 4-bit table's rows: onnxruntime's own operator gathers packed integers and dequantizes them."""
        import onnx

        name = node.input[0]
        found = round_groups(table, group)
        packed = self._add(f"{name}.4b{group}.weight", found.packed(even_high=False))
        scales = self._add(f"{name}.4b{group}.scale", found.scales)
        self._nodes[node.name] = [
            onnx.helper.make_node(
                "GatherBlockQuantized",
                [packed, node.input[1], scales],
                list(node.output),
                name=node.name,
                domain=_MICROSOFT,
                bits=4,
                block_size=group,
                gather_axis=0,
                quantize_axis=1,
            )
        ]
        self._uses_microsoft = True

    def _stored(self, node: onnx.NodeProto, axis: int) -> None:
        """A weight that is stored as int8 with a scale per index of `axis` and dequantized when the model runs."""
        copied = self._copy(node)
        dequantize = self._dequantized(node, 1, axis)
        if dequantize is not None:
            copied.input[1] = dequantize.output[0]
            self._nodes[node.name] = [dequantize, copied]

    def _recurrent_weights(self, node: onnx.NodeProto) -> None:
        """LSTM, GRU or RNN in float with stored int8 weights, a scale for each row of each gate.

        Weights of few inputs stay half floats: features of very different size share a row there, and they are small.
        """
        import numpy as np
        import onnx

        copied = self._copy(node)
        before: list[onnx.NodeProto] = []
        for i in (1, 2):
            weights = self._values(node.input[i])
            if weights is None:
                return
            directions, rows, columns = weights.shape
            name = node.input[i]
            if i == 1 and columns * _NARROW < rows:
                half = self._add(f"{name}.float16", weights.astype(np.float16))
                copied.input[i] = f"{node.name}.{i}.float"
                before.append(
                    onnx.helper.make_node(
                        "Cast", [half], [copied.input[i]], name=copied.input[i], to=onnx.TensorProto.FLOAT
                    )
                )
                continue
            quantized, scale = round_rows(weights.reshape(directions * rows, columns))
            flat, shape = f"{node.name}.{i}.flat", self._add(f"{name}.shape", integer_array(weights.shape))
            before += [
                onnx.helper.make_node(
                    "DequantizeLinear",
                    self._add_quantized(name, quantized, scale),
                    [flat],
                    name=f"{node.name}.{i}.dequantize",
                    axis=0,
                ),
                onnx.helper.make_node("Reshape", [flat, shape], [f"{flat}.shaped"], name=f"{node.name}.{i}.reshape"),
            ]
            copied.input[i] = f"{flat}.shaped"
        self._nodes[node.name] = [*before, copied]
        self.recurrent += 1

    def _dequantized(self, node: onnx.NodeProto, position: int, axis: int) -> onnx.NodeProto | None:
        """Returns a node that dequantizes a weight of `node`, or None where that weight is no float constant."""
        import numpy as np
        import onnx

        name = node.input[position]
        weights = self._values(name)
        if weights is None:
            return None
        rows = np.moveaxis(weights, axis, 0)
        quantized, scale = round_rows(rows.reshape(rows.shape[0], -1))
        stored = np.ascontiguousarray(np.moveaxis(quantized.reshape(rows.shape), 0, axis))
        return onnx.helper.make_node(
            "DequantizeLinear",
            self._add_quantized(name, stored, scale),
            [f"{node.name}.weight"],
            name=f"{node.name}.dequantize",
            axis=axis,
        )

    def _values(self, name: str) -> NDArray[np.float32] | None:
        import onnx

        tensor = self._weights.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        values: NDArray[np.float32] = onnx.numpy_helper.to_array(tensor)
        return values

    def _plain_gemm(self, node: onnx.NodeProto) -> bool:
        return (
            self._values(node.input[1]) is not None
            and not _attribute(node, "transA", 0)
            and _attribute(node, "alpha", 1.0) == 1.0
            and _attribute(node, "beta", 1.0) == 1.0
        )

    def _add(self, name: str, values: NDArray[Any]) -> str:
        """Adds a weight unless it is there already (a tied table), and returns its name."""
        import onnx

        if name not in self._added:
            self._graph.initializer.append(onnx.numpy_helper.from_array(values, name))
            self._added.add(name)
        return name

    def _add_quantized(self, name: str, integers: NDArray[np.int8], scale: NDArray[np.float32]) -> list[str]:
        """Adds an int8 weight and returns the inputs of its DequantizeLinear.

        The zero points are written out: onnxruntime rejects a per-axis weight without them once it has moved the node.
        """
        import numpy as np

        return [
            self._add(f"{name}.int8", integers),
            self._add(f"{name}.scale", scale.reshape(-1)),
            self._add(f"{name}.zero_point", np.zeros(scale.size, dtype=np.int8)),
        ]

    @staticmethod
    def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
        import onnx

        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        return copied


def _keep_sums_apart(graph: onnx.GraphProto) -> None:
    """Writes each sum before a layer normalization so that onnxruntime does not join the two.

    Its joined kernel (SkipLayerNormalization) takes 128 us for 64 rows of 384 channels, the two apart 37 us (1.32).
    Only where linear layers are kernels of the processor's own anyway: other execution providers know `Add` better.
    """
    normalized = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"


def pack_blocks(rows: NDArray[np.float32], bits: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Returns weights in MatMulNBits' form: symmetric, a scale for each block of `block` weights of a row.

    Args:
        rows: (N, K), one row per output.
        bits: 4 or 8.
        block: Power of two, at least 16; the last block of a row is filled up with zeros.

    Returns:
        (N, blocks, block * bits / 8) uint8 with 2^(bits - 1) added to each integer, at 4 bits the even column in the
        low half; scales, shape (N * blocks,).
    """
    import numpy as np

    outputs, inputs = rows.shape
    count = -(-inputs // block)
    padded = np.zeros((outputs, count * block), dtype=np.float32)
    padded[:, :inputs] = rows
    blocks = padded.reshape(outputs, count, block)
    half = 1 << (bits - 1)
    scale = np.abs(blocks).max(axis=2) / (half - 1)
    if bits == 4:
        # The value furthest from 0 goes to -8 where that errs less: with 16 integers the one more on the negative side
        # is worth having. Blocks that lie on a grid of 15 integers already keep theirs.
        furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
        wider = furthest / -half
        scale = np.where(_block_errors(blocks, wider, half) < _block_errors(blocks, scale, half), wider, scale)
    integers = (_block_integers(blocks, scale, half) + half).astype(np.uint8)
    packed = integers if bits == 8 else (integers[..., 0::2] | (integers[..., 1::2] << 4)).astype(np.uint8)
    return packed, scale.astype(np.float32).reshape(-1)


def _block_integers(blocks: NDArray[np.float32], scale: NDArray[Any], half: int) -> NDArray[np.float32]:
    import numpy as np

    safe = np.where(scale == 0, 1.0, scale)[..., None]
    return np.clip(np.round(blocks / safe), -half, half - 1).astype(np.float32)


def _block_errors(blocks: NDArray[np.float32], scale: NDArray[Any], half: int) -> NDArray[np.float32]:
    """Returns the squared error of each block, (N, blocks)."""
    difference = _block_integers(blocks, scale, half) * scale[..., None] - blocks
    errors: NDArray[np.float32] = (difference**2).sum(axis=2)
    return errors


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
