"""Linear layers with integer products and activations that are quantized at run time, row by row.

onnxruntime's own dynamic quantization has one scale for the whole input, which a transformer's outliers ruin: 19 dB on
MiniLM. Here each row (token) x has its own range [l, h], taken when the model runs, and the products are integers:

    x = s A + l,  s = (h - l) / 255                              A uint8; s, l one for each row
    x W^T = s (A W^T) + l (sum of W's columns)                   the second term is an outer product of two vectors

Where the input comes from a layer normalization, its channels are first divided by u = sqrt(reach / largest weight) and
the weights multiplied with it, which moves outliers from activations to weights (Xiao et al., "SmoothQuant", 2023,
eq. 4 with alpha = 0.5). A channel's reach is known from the normalization's own parameters, so this needs no data.

That takes eight small operators for each value and four for each layer. Inputs that need no ranges of their own a row
have one range, in the kernel itself (`DynamicQuantizeMatMul`): a single row; what an attention puts out, whose rows are
averages of others (on MiniLM 28.3 dB instead of 28.5); rows that are alike on calibration data (see
`onnx_dynamic_inputs`); and a value that meets few weights (`_PAYS`), where the small operators cost more than integers
save: a layer of 64 channels took 1.3 times float's time, and one node takes half of it for 3 dB more noise on normal
numbers.

Weights are int8: with VNNI the product takes half the time of one of two uint8 factors (on 64 rows of 384 channels, 62
us beside 133 and float's 193). x86 processors without VNNI saturate unless the session is told to be exact, as for
static INT8. onnxruntime's kernel for blocks of 8 bits (`MatMulNBits`, accuracy level 4) has ranges of its own for each
block and no small operators, and is slower all the same: MiniLM at 0.70 x float with blocks of 128.
Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicLayer:
    """One linear layer.

    Attributes:
        name: Of its node.
        output: Name of what it writes.
        rows: Weights (outputs, inputs), float32.
        bias: (outputs,) float32, None where there is none.
    """

    name: str
    output: str
    rows: NDArray[np.float32]
    bias: NDArray[np.float32] | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicInput:
    """A value that linear layers quantize when the model runs.

    Attributes:
        name: Of the value.
        shape: Its shape; the last axis holds the channels.
        smoothing: What each channel is divided by, (channels,) float32; None where there is no need.
        one_range: One range serves all of its rows.
    """

    name: str
    shape: tuple[int, ...]
    smoothing: NDArray[np.float32] | None = None
    one_range: bool = False


def dynamic_layers(
    given: DynamicInput, layers: Sequence[DynamicLayer], add: AddConstant, opset: int
) -> dict[str, list[onnx.NodeProto]]:
    """Returns the new nodes of all linear layers that read one value, by the name of the node that they replace.

    Args:
        given: The value; it is quantized once for all of its readers.
        layers: Its readers.
        add: Adds a constant to the graph under a name and returns the name.
        opset: Operator set version of the model.
    """
    make = _whole_products if given.one_range or _too_few(layers) else _row_products
    before, products = make(given, layers, add, opset)
    made = {layer.name: products[layer.name] for layer in layers}
    made[layers[0].name] = [*before, *made[layers[0].name]]
    return made


def round_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Returns (int8 rows, scales of shape (rows, 1)): symmetric, -127..127, a scale for each row."""
    import numpy as np

    scale = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    safe = np.where(scale == 0, np.float32(1), scale)
    return np.round(rows / safe).astype(np.int8), safe


def integer_array(values: Sequence[int]) -> NDArray[np.int64]:
    """Returns an int64 array: what shapes and axes are stored as."""
    import numpy as np

    return np.array(values, dtype=np.int64)


def _too_few(layers: Sequence[DynamicLayer]) -> bool:
    """Returns whether a range a row costs more than integers save."""
    return bool(sum(layer.rows.shape[0] for layer in layers) < _PAYS)


def _smoothed(given: DynamicInput, source: str, prefix: str, add: AddConstant) -> tuple[str, list[onnx.NodeProto]]:
    """Returns the name of the smoothed value, and the node that makes it if there is one."""
    import onnx

    if given.smoothing is None:
        return source, []
    inputs, name = [source, add(f"{prefix}.smoothing", 1 / given.smoothing)], f"{prefix}.smoothed"
    return name, [onnx.helper.make_node("Mul", inputs, [name], name=name)]


def _integer_weights(
    layer: DynamicLayer, given: DynamicInput, add: AddConstant
) -> tuple[list[str], NDArray[np.float64]]:
    """Adds int8 weights; returns the names of weights, scale and zero point, and each output's sum, (outputs,)."""
    import numpy as np

    integers, scale = round_rows(layer.rows if given.smoothing is None else layer.rows * given.smoothing)
    sums: NDArray[np.float64] = integers.sum(axis=1, dtype=np.float64) * scale.reshape(-1)
    return [
        add(f"{layer.name}.int8", np.ascontiguousarray(integers.T)),
        add(f"{layer.name}.scale", scale.reshape(-1)),
        # One for each: where onnxruntime is told to be exact, it rewrites weights, and fails on those that are shared.
        add(f"{layer.name}.zero_point", np.zeros(len(integers), dtype=np.int8)),
    ], sums


def _whole_products(
    given: DynamicInput, layers: Sequence[DynamicLayer], add: AddConstant, opset: int
) -> tuple[list[onnx.NodeProto], dict[str, list[onnx.NodeProto]]]:
    """Returns what comes first, and a node for each layer: one range for the whole input, products of integers."""
    import onnx

    del opset
    value, before = _smoothed(given, given.name, f"{given.name}.rows", add)
    products: dict[str, list[onnx.NodeProto]] = {}
    for layer in layers:
        inputs = [value, *_integer_weights(layer, given, add)[0]]
        if layer.bias is not None:
            inputs.append(add(f"{layer.name}.bias", layer.bias))
        products[layer.name] = [
            onnx.helper.make_node("DynamicQuantizeMatMul", inputs, [layer.output], name=layer.name, domain=_MICROSOFT)
        ]
    return before, products


def _row_products(
    given: DynamicInput, layers: Sequence[DynamicLayer], add: AddConstant, opset: int
) -> tuple[list[onnx.NodeProto], dict[str, list[onnx.NodeProto]]]:
    """Returns what comes first, and the nodes of each layer: a range for each row, products of integers."""
    before = _quantize_rows(given, f"{given.name}.rows", add, opset)
    return before, {layer.name: _row_product(layer, given, add) for layer in layers}


def _quantize_rows(given: DynamicInput, prefix: str, add: AddConstant, opset: int) -> list[onnx.NodeProto]:
    """Returns the nodes that make PREFIX.uint8 (rows, inputs), PREFIX.scale (rows, 1) and PREFIX.low (rows, 1)."""
    import numpy as np
    import onnx

    def node(operator: str, inputs: list[str], name: str, **settings: Any) -> onnx.NodeProto:
        return onnx.helper.make_node(operator, inputs, [f"{prefix}{name}"], name=f"{prefix}{name}", **settings)

    # Since opset 18 the axes of a reduction are an input.
    axis = [add("edgekit.axis", integer_array((1,)))] if opset >= 18 else []
    axes = {} if opset >= 18 else {"axes": [1]}
    tiny = add("edgekit.tiny", np.array(1e-30, dtype=np.float32))  # a row of equal values must not divide by zero
    levels = add("edgekit.levels", np.array(1 / 255, dtype=np.float32))
    width = given.shape[-1]
    flat = node("Reshape", [given.name, add(f"edgekit.width{width}", integer_array((-1, width)))], "")
    value, smoothed = _smoothed(given, prefix, prefix, add)
    return [
        flat,
        *smoothed,
        node("ReduceMax", [value, *axis], ".high", keepdims=1, **axes),
        node("ReduceMin", [value, *axis], ".low", keepdims=1, **axes),
        node("Sub", [f"{prefix}.high", f"{prefix}.low"], ".range"),
        node("Mul", [f"{prefix}.range", levels], ".step"),
        node("Max", [f"{prefix}.step", tiny], ".scale"),
        node("Reshape", [f"{prefix}.scale", add("edgekit.flat", integer_array((-1,)))], ".scales"),
        node("Sub", [value, f"{prefix}.low"], ".above"),
        node("QuantizeLinear", [f"{prefix}.above", f"{prefix}.scales"], ".uint8", axis=0),
    ]


def _row_product(layer: DynamicLayer, given: DynamicInput, add: AddConstant) -> list[onnx.NodeProto]:
    """Returns the nodes that multiply the quantized rows with a layer's weights."""
    import numpy as np
    import onnx

    name, prefix = layer.name, f"{given.name}.rows"
    (weights, scale, zero_point), sums = _integer_weights(layer, given, add)
    one = add("edgekit.one", np.array(1.0, dtype=np.float32))
    none = add("edgekit.none", np.array(0, dtype=np.uint8))
    # One column times one row: a product that also added biases, as two columns, would be 2 % faster and would count as
    # float arithmetic of the layer's own.
    outer = [f"{prefix}.low", add(f"{name}.sums", sums.astype(np.float32)[None, :])]
    if layer.bias is not None:
        outer.append(add(f"{name}.bias", layer.bias))
    target = add(f"{name}.shape", integer_array((*given.shape[:-1], layer.rows.shape[0])))
    inputs = [f"{prefix}.uint8", weights, one, scale, none, zero_point]
    make = onnx.helper.make_node
    return [
        make("MatMulIntegerToFloat", inputs, [f"{name}.product"], name=name, domain=_MICROSOFT),
        make("Mul", [f"{name}.product", f"{prefix}.scale"], [f"{name}.scaled"], name=f"{name}.scaled"),
        make("Gemm", outer, [f"{name}.offset"], name=f"{name}.offset"),
        make("Add", [f"{name}.scaled", f"{name}.offset"], [f"{name}.flat"], name=f"{name}.flat"),
        make("Reshape", [f"{name}.flat", target], [layer.output], name=f"{name}.reshape"),
    ]
