"""The graph of an ONNX file. Runs in a worker process; onnx is imported late.

Sizes that the file leaves open (a symbolic batch) are taken as 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.graph import Analysis, KernelClass, WeightRole
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.graph_damage import damage_named
from edgekit.analysis.onnx_bodies import BODY_OPERATORS, lay_out_bodies
from edgekit.analysis.onnx_normal_form import bring_into_normal_form, check_words, graphs_of
from edgekit.analysis.onnx_run_shapes import add_shapes_of_a_run
from edgekit.analysis.operator_costs import (
    conv_attributes,
    conv_kernel,
    conv_macs,
    einsum_macs,
    matmul_macs,
    recurrent_macs,
)
from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx
_ALIASES: Final = frozenset({
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Expand",
    # The operators between them compute in integers: these say how and cost nothing of their own.
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
_STORED_ALIASES: Final = frozenset({"Transpose", *_ALIASES})
_PRODUCTS: Final = frozenset({"Gemm", "MatMul", "MatMulInteger", "FusedMatMul", "FusedGemm", "QLinearMatMul", "QGemm"})
_CONVOLUTIONS: Final = frozenset({"Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv"})
_LATE_WEIGHTS: Final = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
"""Operators that read scale and zero point of their first input before their weights."""
_NORMS: Final = (
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
    "SimplifiedLayerNormalization", "SkipLayerNormalization", "LpNormalization", "LRN", "Softmax", "LogSoftmax",
    "CumSum",
)  # fmt: skip
_POOLS: Final = (
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "ArgMax", "ArgMin", "TopK", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp",
)  # fmt: skip
_MOVES: Final = (
    "Transpose", "Concat", "Split", "Slice", "Pad", "GatherElements", "GatherND", "ScatterND", "ScatterElements",
    "Tile",
    "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "ReverseSequence", "Compress", "NonZero", "OneHot", "Shape",
    "ConstantOfShape", "Range", "EyeLike", "Trilu", "Cast", "Constant",
)  # fmt: skip
_SHAPE_MATHS: Final = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "Constant"})
"""Computed from sizes alone: with fixed sizes runtimes fold them."""

_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
Roles = dict[str, tuple[WeightRole, "int | None"]]


def read_onnx_graph(path: Path) -> Analysis:
    """Returns the analysis of an ONNX file.

    Raises:
        ModelError: onnx cannot read the file.
    """
    return read_onnx_file(path)[0]


def read_onnx_file(
    path: Path, sizes: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> tuple[Analysis, dict[str, str]]:
    """Returns the analysis of an ONNX file, and operator name to the precision that the file computes it in.

    Args:
        path: The file.
        sizes: Input name to its shape, where the file leaves sizes free.

    Raises:
        ModelError: onnx cannot read the file, or its graph is damaged.
    """
    import onnx

    try:
        model: onnx.ModelProto = onnx.load(str(path))
        check_words(model, str(path))
        model = bring_into_normal_form(model)
        _fix_sizes(model, sizes)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except ModelError:
        raise
    except Exception as error:  # protobuf's DecodeError, missing external data, inference errors: all mean a bad file
        raise ModelError(
            f"{path}: onnx cannot read it: {error}. Expected a complete ONNX file; check it with onnx.checker."
        ) from error
    add_shapes_of_a_run(model)
    with damage_named(str(path)):
        flat, notes = lay_out_bodies(model)
        reader = _Reader(flat.graph, path)
        analysis = replace(reader.read(notes), bodies=sum(1 for _ in graphs_of(model.graph)) - 1)
        return analysis, reader.precisions


def _fix_sizes(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> None:
    """Fixes free sizes, to 1 where none are given. Sizes that were found before stay where none is free."""
    import onnx

    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        if not value.type.tensor_type.HasField("shape") and value.name in sizes:
            shape.SetInParent()
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes[value.name])
            del model.graph.value_info[:]
    free = [
        (size, sizes[value.name][axis] if value.name in sizes else 1)
        for value in model.graph.input
        for axis, size in enumerate(value.type.tensor_type.shape.dim)
        if size.WhichOneof("value") != "dim_value"
    ]
    for size, chosen in free:
        size.dim_value = chosen
    if free:
        del model.graph.value_info[:]


@final
class _Reader:
    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self._graph = graph
        self._path = path
        self._builder = GraphBuilder()
        self._dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
        self.precisions: dict[str, str] = {}

    def read(self, notes: Sequence[str]) -> Analysis:
        """Returns the analysis; `notes` are what is known not to be known."""
        for note in notes:
            self._builder.note(note)
        for item in self._graph.initializer:
            self._store(item.name, item)
        inputs = self._graph.input
        for value in (*inputs, *self._graph.value_info, *self._graph.output):
            self._declare(value)
        for node in self._graph.node:
            self._add(node)
        return self._builder.finish([v.name for v in inputs], [v.name for v in self._graph.output])

    def _store(self, name: str, item: onnx.TensorProto) -> None:
        from onnx import helper, numpy_helper

        folder = str(self._path.parent)
        dtype = str(helper.tensor_dtype_to_np_dtype(item.data_type))
        self._builder.store(name, item.dims, dtype, lambda: numpy_helper.to_array(item, base_dir=folder))

    def _declare(self, value: onnx.ValueInfoProto) -> None:
        from onnx import helper

        kind = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or not kind.elem_type:
            return
        shape = [size.dim_value if size.WhichOneof("value") == "dim_value" else 1 for size in kind.shape.dim]
        if any(size.WhichOneof("value") != "dim_value" for size in kind.shape.dim):
            self._builder.note(f"{value.name}: its sizes are not known from the file; open ones count as 1.")
        self._builder.tensor(value.name, shape, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)))

    def _add(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            if tensor is not None:
                self._store(node.output[0], tensor)
            return
        reads = [name for name in node.input if name and self._builder.knows(name)]
        stored = [name for name in reads if self._builder.is_stored(name)]
        is_alias = node.op_type in _ALIASES or (node.op_type in _STORED_ALIASES and reads[:1] == stored[:1] != [])
        if reads and is_alias:
            self._builder.alias(node.output[0], reads[0])
            return
        if node.op_type in _SHAPE_MATHS:
            return
        if node.op_type in BODY_OPERATORS:
            self._keep_weights(node, stored)
            return
        if reads and len(stored) == len(reads) and node.op_type != "Gather":
            self._fold(node, reads)
            return
        outputs = [name for name in node.output if name and self._builder.knows(name)]
        kernel, macs, roles, attributes = self._cost(node, reads, outputs)
        name = node.name or (node.output[0] if node.output else node.op_type)
        self.precisions[name] = self._precision(node)
        self._builder.add(
            name=name,
            type=node.op_type,
            kernel=kernel,
            reads=reads,
            outputs=outputs,
            module=_scope(node),
            macs=macs,
            roles=roles,
            attributes=attributes,
        )

    def _precision(self, node: onnx.NodeProto) -> str:
        """Returns the precision that onnxruntime computes a node in, as the file asks for it."""
        kind = node.op_type
        if kind.startswith("QLinear") or kind == "QGemm":
            return "int8_static"
        if kind in {"MatMulInteger", "ConvInteger"} or kind.startswith("DynamicQuantize"):
            return "int8_dynamic"
        if kind in ("MatMulNBits", "GatherBlockQuantized"):
            return "int4_weights"
        fed = [name in self._dequantized for name in node.input[:2]]
        if fed[:1] == [True]:
            return "int8_static"
        if fed[1:] == [True]:
            return "int8_weights"
        return "fp16" if any(self._builder.dtype(name) == "float16" for name in node.input[:2]) else "fp32"

    def _keep_weights(self, node: onnx.NodeProto, stored: Sequence[str]) -> None:
        """Counts the weights of a branch that the costs are not those of, and marks what goes around a loop."""
        if not stored:
            return
        is_branch = node.op_type == "If"
        name = f"{node.name}/{'other_branch' if is_branch else 'carried'}"
        roles: Roles = {n: (self._role_of_kept(n) if is_branch else "constant", None) for n in stored}
        self._builder.add(name=name, type=node.op_type, kernel="data_movement", reads=stored, outputs=(), roles=roles)

    def _role_of_kept(self, name: str) -> WeightRole:
        return "kernel" if len(self._builder.shape(name)) > 1 else "bias"

    def _fold(self, node: onnx.NodeProto, reads: Sequence[str]) -> None:
        """Declares what is computed from stored tensors alone: runtimes evaluate it once, at load."""
        for name in node.output:
            shape = self._builder.shape(name) if self._builder.knows(name) else self._builder.shape(reads[0])
            cut = node.op_type == "Slice"
            self._builder.derive(name, shape, "float32", reads[:1] if cut else reads, is_slice=cut)

    def _cost(
        self, node: onnx.NodeProto, reads: Sequence[str], outputs: Sequence[str]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        """Returns (kernel class, MACs, roles of the weights, attributes) of a node."""
        kind = node.op_type
        made = self._builder.shape(outputs[0]) if outputs else ()
        if kind in _CONVOLUTIONS and len(reads) > 1:
            return self._convolution(node, made)
        if kind in _PRODUCTS and len(reads) > 1:
            return self._product(node, made)
        if kind == "MatMulNBits" and len(reads) > 1:
            inner = next((int(a.i) for a in node.attribute if a.name == "K"), 1)
            return ("linear", matmul_macs(made, inner), {reads[1]: ("kernel", made[-1] if made else 1)}, {})
        if kind in _RECURRENT:
            return self._recurrent(node, reads)
        if kind == "Einsum":
            equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
            macs = einsum_macs(equation, [self._builder.shape(name) for name in reads])
            return ("attention_matmul", macs, {}, {})
        looks_up = kind in ("Gather", "GatherBlockQuantized")
        if looks_up and self._builder.is_stored(reads[0]) and len(self._builder.shape(reads[0])) == 2:
            return ("embedding", 0, {reads[0]: ("table", self._builder.shape(reads[0])[0])}, {})
        if kind in _NORMS:
            return ("normalization", 0, {n: ("norm", None) for n in reads[1:] if self._builder.is_stored(n)}, {})
        if kind == "Add":
            # What a linear layer without a bias of its own gets added along its last axis.
            vectors = [n for n in reads if self._builder.is_stored(n) and len(self._builder.shape(n)) == 1]
            return ("elementwise", 0, dict.fromkeys(vectors, ("bias", None)), {})
        plain: KernelClass = (
            "pooling" if kind in _POOLS else "data_movement" if kind in {*_MOVES, "Gather"} else "elementwise"
        )
        return (plain, 0, {}, {})

    def _convolution(
        self, node: onnx.NodeProto, made: Sequence[int]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        place = _weight_place(node)
        source, weight = node.input[0], node.input[place]
        seen, shape = self._builder.shape(source), self._builder.shape(weight)
        if len(shape) < 3:
            self._builder.note(f'The filter of the {node.op_type} "{node.name}" has no known shape: it costs nothing.')
            return ("dense_conv", 0, {}, {})
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        transposed = node.op_type == "ConvTranspose"
        size = shape[2:]
        roles: Roles = {weight: ("kernel", shape[1] * groups if transposed else shape[0])}
        bias = node.input[8:9] if node.op_type in _LATE_WEIGHTS else node.input[2:3]
        roles |= {name: ("bias", None) for name in bias if name}
        stride = next((list(a.ints) for a in node.attribute if a.name == "strides"), [])
        macs = conv_macs(seen if transposed else made, size, shape[1])
        # The filter tells the input's channels, also where the graph computes the input's shape.
        channels = shape[0] if transposed else shape[1] * groups
        return (conv_kernel(size, groups, channels), macs, roles, conv_attributes(size, stride, groups))

    def _product(self, node: onnx.NodeProto, made: Sequence[int]) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        left = self._builder.shape(node.input[0])
        flipped = any(a.name == "transA" and a.i for a in node.attribute)
        macs = matmul_macs(made, left[0 if flipped else -1] if left else 1)
        operands = [node.input[_weight_place(node)], node.input[0]]
        stored = next((name for name in operands if self._builder.is_stored(name)), None)
        if stored is None:
            return ("attention_matmul", macs, {}, {})
        roles: Roles = {stored: ("kernel", made[-1] if made else 1)}
        if node.op_type not in _LATE_WEIGHTS and len(node.input) > 2 and node.input[2]:
            roles[node.input[2]] = ("bias", None)
        return ("linear", macs, roles, {})

    def _recurrent(
        self, node: onnx.NodeProto, reads: Sequence[str]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        seen = self._builder.shape(node.input[0])
        if len(seen) != 3:
            self._builder.note(f'The {node.op_type} "{node.name}" reads a sequence of unknown length: it counts as 1.')
            seen = (1, 1, 1)
        matrices = [name for name in node.input[1:3] if self._builder.is_stored(name)]
        roles: Roles = {name: ("recurrent", self._builder.shape(name)[-2]) for name in matrices}
        roles |= {name: ("bias", None) for name in reads[3:] if self._builder.is_stored(name)}
        macs = recurrent_macs([self._builder.shape(name) for name in matrices], seen[0], seen[1])
        if node.op_type == "DynamicQuantizeLSTM":
            # Its integer products are packed as those of a linear layer are.
            return ("linear", macs, {name: ("kernel", self._builder.shape(name)[-1]) for name in matrices}, {})
        return ("recurrent", macs, roles, {"steps": seen[0]})


def _weight_place(node: onnx.NodeProto) -> int:
    """Returns which input of a convolution or product holds its weights."""
    return 3 if node.op_type in _LATE_WEIGHTS else 1


def _scope(node: onnx.NodeProto) -> str:
    """Returns the module that a node came from, where the exporter wrote it: `/layer1/conv/Conv` is `layer1.conv`."""
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = [part.strip(" '\"[]") for part in item.value.split(",")]
            named = [part for part in scopes[:-1] if part]
            return named[-1] if named else ""
    return str(node.name).strip("/").rpartition("/")[0].replace("/", ".")
