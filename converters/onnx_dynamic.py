"""Linear layers with integer products and activations that are quantized at run time, row by row.

onnxruntime's own dynamic quantization has one scale for the whole input, which a transformer's outliers ruin: 19 dB on
MiniLM. Here each row (token) x has its own range [l, h], taken when the model runs, and the products are integers:

    x = s (A - z),  s = (h - l) / 255,  z = round(-l / s)        A, z uint8; s, z one for each row
    x W^T = s (A W^T) - s z (sum of W's columns)                 the second term is an outer product of two vectors

Where the input comes from a layer normalization, its channels are first divided by u = sqrt(reach / largest weight) and
the weights multiplied with it, which moves outliers from activations to weights (Xiao et al., "SmoothQuant", 2023,
eq. 4 with alpha = 0.5). A channel's reach is known from the normalization's own parameters, so this needs no data.

That takes fifteen small operators for each value. Where a quantized value meets few weights (`_PAYS`) they cost more
than integers save: a layer of 64 channels took 1.3 times float's time. Such layers are one node,
`DynamicQuantizeMatMul`, whose input has one range: half of float's time, and 3 dB more noise on normal numbers.

Weights are int8: with VNNI the product takes half the time of one of two uint8 factors (on 64 rows of 384 channels, 62
us beside 133 and float's 193). x86 processors without VNNI saturate unless the session is told to be exact, as for
static INT8. A zero point in the middle for values that are centred would save half of the small operators; it was
tried on MiniLM and lost 2.3 dB for 2 % of the time.
Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.converters.onnx_shapes import inferred_graph

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    AddConstant = Callable[[str, NDArray[Any]], str]

DYNAMIC_PRODUCTS: Final = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
"""Operators of com.microsoft by which layers here multiply integers."""

_MICROSOFT: Final = "com.microsoft"
_PAYS: Final = 320
"""Weights that a value must meet for a range a row to pay. Time over float's on 256 rows of 64 channels to 192 outputs
1.3, on 64 of 80 to 240 1.3, on 64 of 128 to 256 0.85, on 197 of 192 to 576 0.5, on 64 of 384 to 1536 0.4; of one node
0.55, 0.6, 0.4, 0.35 and 0.3."""

_DEVIATIONS: Final = 2.5  # of a normalized channel: about what the largest of a sentence's 64 tokens reaches


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicLayer:
    """One linear layer.

    Attributes:
        node: onnx.NodeProto of its MatMul or Gemm.
        rows: Weights (outputs, inputs), float32.
        weight: Their name in the graph.
        bias: Name of a Gemm's bias, None where there is none or where it is a node of its own.
    """

    node: onnx.NodeProto
    rows: NDArray[np.float32]
    weight: str
    bias: str | None


def dynamic_layers(
    value: str,
    shape: tuple[int, ...],
    layers: Sequence[DynamicLayer],
    reach: NDArray[np.float64] | None,
    add: AddConstant,
    opset: int,
) -> dict[str, list[onnx.NodeProto]]:
    """Returns the new nodes of all linear layers that read one value, by the name of the node that they replace.

    Args:
        value: Name of the value; it is quantized once for all of its readers.
        shape: Its shape.
        layers: Its readers.
        reach: How far each channel reaches, shape (inputs,), where that is known.
        add: Adds a constant to the graph under a name and returns the name.
        opset: Operator set version of the model.
    """
    import numpy as np

    smoothing = np.ones(shape[-1], dtype=np.float32)
    if all(_is_rounded(layer.rows) for layer in layers):
        reach = None  # another scale for each channel would undo what a technique has learned
    if reach is not None:
        columns = [np.abs(layer.rows).max(axis=0) for layer in layers]
        # Readers share the input. The one with the least weight on a channel decides: on MiniLM that keeps 28.2 dB, as
        # much as a smoothing for each reader, where the largest weight of all keeps 25.9 dB.
        largest = np.min([column / max(float(column.mean()), 1e-12) for column in columns], axis=0)
        smoothing = np.sqrt(np.maximum(reach, 1e-6) / np.maximum(largest, 1e-6)).astype(np.float32)
    prefix = f"{value}.rows"
    if sum(layer.rows.shape[0] for layer in layers) < _PAYS:
        return _whole_products(value, layers, smoothing if reach is not None else None, prefix, add)
    before = _quantize_rows(value, shape, smoothing if reach is not None else None, prefix, add, opset)
    made: dict[str, list[onnx.NodeProto]] = {}
    for layer in layers:
        made[layer.node.name] = [*before, *_product(layer, shape, smoothing, prefix, add)]
        before = []
    return made


def _whole_products(
    value: str,
    layers: Sequence[DynamicLayer],
    smoothing: NDArray[np.float32] | None,
    prefix: str,
    add: AddConstant,
) -> dict[str, list[onnx.NodeProto]]:
    """Returns a node for each layer that finds one range for its whole input and multiplies integers."""
    import numpy as np
    import onnx

    make = onnx.helper.make_node
    before: list[onnx.NodeProto] = []
    if smoothing is not None:
        inputs = [value, add(f"{prefix}.smoothing", 1 / smoothing)]
        before, value = [make("Mul", inputs, [prefix], name=prefix)], prefix
    made: dict[str, list[onnx.NodeProto]] = {}
    for layer in layers:
        name = layer.node.name
        integers, scale = round_rows(layer.rows if smoothing is None else layer.rows * smoothing)
        inputs = [
            value,
            add(f"{name}.int8", np.ascontiguousarray(integers.T)),
            add(f"{name}.scale", scale.reshape(-1)),
            add(f"{name}.zero_point", np.zeros(len(integers), dtype=np.int8)),
            *([] if layer.bias is None else [layer.bias]),
        ]
        product = make("DynamicQuantizeMatMul", inputs, list(layer.node.output), name=name, domain=_MICROSOFT)
        made[name] = [*before, product]
        before = []
    return made


def channel_reach(
    graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto], value: str
) -> NDArray[np.float64] | None:
    """Returns how far each channel of a layer normalization's output reaches, None for any other value.

    The output is gamma * n + beta with n of mean 0 and variance 1, so a channel reaches 2.5 |gamma| + |beta| or so.
    """
    import numpy as np
    from onnx import numpy_helper

    for node in graph.node:
        if value in node.output and node.op_type == "LayerNormalization":
            if any(name not in weights for name in node.input[1:]):
                return None
            values = [numpy_helper.to_array(weights[name]) for name in node.input[1:]]
            gamma, *beta = [np.abs(value.astype(np.float64)).reshape(-1) for value in values]
            reach: NDArray[np.float64] = _DEVIATIONS * gamma + sum(beta)
            return reach
    return None


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all values that have one without unknown sizes."""
    graph = inferred_graph(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes


def round_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Returns (int8 rows, scales of shape (rows, 1)): symmetric, -127..127, a scale for each row."""
    import numpy as np

    scale = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    safe = np.where(scale == 0, np.float32(1), scale)
    return np.round(rows / safe).astype(np.int8), safe


def _is_rounded(rows: NDArray[np.float32]) -> bool:
    """Returns whether weights lie on an int8 grid already: rounding them again changes nothing."""
    import numpy as np

    integers, scale = round_rows(rows)
    return bool(np.allclose(integers * scale, rows, rtol=1e-5, atol=0))


def integer_array(values: Sequence[int]) -> NDArray[np.int64]:
    """Returns an int64 array: what shapes and axes are stored as."""
    import numpy as np

    return np.array(values, dtype=np.int64)


def _quantize_rows(
    value: str,
    shape: tuple[int, ...],
    smoothing: NDArray[np.float32] | None,
    prefix: str,
    add: AddConstant,
    opset: int,
) -> list[onnx.NodeProto]:
    """Returns the nodes that make PREFIX.uint8 (rows, inputs), PREFIX.scale (rows, 1) and PREFIX.offset (rows, 1)."""
    import numpy as np
    import onnx

    def node(operator: str, inputs: list[str], name: str, **settings: Any) -> onnx.NodeProto:
        return onnx.helper.make_node(operator, inputs, [f"{prefix}{name}"], name=f"{prefix}{name}", **settings)

    # Since opset 18 the axes of a reduction are an input.
    axis = [add("edgekit.axis", integer_array((1,)))] if opset >= 18 else []
    axes = {} if opset >= 18 else {"axes": [1]}
    zero = add("edgekit.zero", np.array(0, dtype=np.float32))
    tiny = add("edgekit.tiny", np.array(1e-30, dtype=np.float32))  # a row of zeros must not divide by zero
    levels = add("edgekit.levels", np.array(1 / 255, dtype=np.float32))
    flat = add("edgekit.flat", integer_array((-1,)))
    rows = [node("Reshape", [value, add(f"edgekit.width{shape[-1]}", integer_array((-1, shape[-1])))], "")]
    if smoothing is not None:
        rows[0].output[0] = rows[0].name = f"{prefix}.raw"
        rows.append(node("Mul", [f"{prefix}.raw", add(f"{prefix}.smoothing", 1 / smoothing)], ""))
    return [
        *rows,
        node("ReduceMax", [prefix, *axis], ".max", keepdims=1, **axes),
        node("ReduceMin", [prefix, *axis], ".min", keepdims=1, **axes),
        node("Max", [f"{prefix}.max", zero], ".high"),
        node("Min", [f"{prefix}.min", zero], ".low"),
        node("Sub", [f"{prefix}.high", f"{prefix}.low"], ".range"),
        node("Mul", [f"{prefix}.range", levels], ".step"),
        node("Max", [f"{prefix}.step", tiny], ".scale"),
        node("Div", [f"{prefix}.low", f"{prefix}.scale"], ".exact"),
        node("Round", [f"{prefix}.exact"], ".negative"),
        node("Neg", [f"{prefix}.negative"], ".positive"),
        node("Cast", [f"{prefix}.positive"], ".column", to=onnx.TensorProto.UINT8),
        node("Reshape", [f"{prefix}.column", flat], ".zero_point"),
        node("Reshape", [f"{prefix}.scale", flat], ".scales"),
        # The rounded -z, not l itself: what is subtracted must be exactly what was added.
        node("Mul", [f"{prefix}.negative", f"{prefix}.scale"], ".offset"),
        node("QuantizeLinear", [prefix, f"{prefix}.scales", f"{prefix}.zero_point"], ".uint8", axis=0),
    ]


def _product(
    layer: DynamicLayer, shape: tuple[int, ...], smoothing: NDArray[np.float32], prefix: str, add: AddConstant
) -> list[onnx.NodeProto]:
    """Returns the nodes that multiply the quantized rows with a layer's weights."""
    import numpy as np
    import onnx

    name = layer.node.name
    integers, scale = round_rows(layer.rows * smoothing)
    sums = integers.sum(axis=1, dtype=np.float64)[None, :] * scale.reshape(1, -1)
    inputs = [
        f"{prefix}.uint8",
        add(f"{name}.int8", np.ascontiguousarray(integers.T)),
        add("edgekit.one", np.array(1.0, dtype=np.float32)),
        add(f"{name}.scale", scale.reshape(-1)),
        add("edgekit.none", np.array(0, dtype=np.uint8)),
        # One for each: where onnxruntime is told to be exact, it rewrites weights, and fails on those that are shared.
        add(f"{name}.zero_point", np.array(0, dtype=np.int8)),
    ]
    outer = [f"{prefix}.offset", add(f"{name}.sums", sums.astype(np.float32)), f"{name}.scaled"]
    make = onnx.helper.make_node
    nodes = [
        make("MatMulIntegerToFloat", inputs, [f"{name}.product"], name=name, domain=_MICROSOFT),
        make("Mul", [f"{name}.product", f"{prefix}.scale"], [f"{name}.scaled"], name=f"{name}.scaled"),
        make("Gemm", outer, [f"{name}.flat"], name=f"{name}.flat"),
    ]
    if layer.bias is not None:
        nodes.append(make("Add", [f"{name}.flat", layer.bias], [f"{name}.biased"], name=f"{name}.biased"))
    target = add(f"{name}.shape", integer_array((*shape[:-1], layer.rows.shape[0])))
    nodes.append(make("Reshape", [nodes[-1].output[0], target], list(layer.node.output), name=f"{name}.reshape"))
    return nodes
