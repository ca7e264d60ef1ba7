"""Integer inputs and outputs of a quantized ONNX graph: the outer quantize and dequantize nodes are taken off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgekit.converters.onnx_static import consumers
from edgekit.model import TensorSpec

if TYPE_CHECKING:
    import onnx

_MOVES: Final = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def make_input_integer(graph: onnx.GraphProto, spec: TensorSpec) -> TensorSpec | None:
    """Makes one float input integer; returns its new spec, or None where a float operator reads it directly."""
    value = next(v for v in graph.input if v.name == spec.name)
    # Nodes that only move values do so with integers as well: a model with channels last begins with one.
    name, readers = spec.name, consumers(graph).get(spec.name, [])
    while len(readers) == 1 and readers[0] is not None and readers[0].op_type in _MOVES:
        name = readers[0].output[0]
        readers = consumers(graph).get(name, [])
    pairs = [node for node in readers if node is not None and node.op_type == "QuantizeLinear"]
    if not pairs or len(pairs) != len(readers):
        return None
    # TensorRT's form has a pair for each reader; all share one scale.
    grids = {_grid(graph, node) for node in pairs}
    if len(grids) != 1:
        return None
    scale, zero_point, code = grids.pop()
    for node in pairs:
        _reroute(graph, node.output[0], name)
        graph.node.remove(node)
    value.type.tensor_type.elem_type = code
    return _integer_spec(spec, scale, zero_point, code)


def make_output_integer(graph: onnx.GraphProto, spec: TensorSpec) -> TensorSpec | None:
    """Makes one float output integer; returns its new spec, or None where a float operator computes it."""
    value = next(v for v in graph.output if v.name == spec.name)
    producers = {name: node for node in graph.node for name in node.output}
    dequantize = producers.get(spec.name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or dequantize.input[0] not in producers:
        return None
    scale, zero_point, code = _grid(graph, dequantize)
    quantized = dequantize.input[0]
    quantize = producers[quantized]
    if len(consumers(graph)[spec.name]) > 1:
        # Inner operators read the float value as well: they keep this dequantize node under another name.
        inner = f"{spec.name}_dequantized"
        _reroute(graph, spec.name, inner)
        dequantize.output[0] = inner
    else:
        graph.node.remove(dequantize)
    _reroute(graph, quantized, spec.name)
    for i, name in enumerate(quantize.output):
        if name == quantized:
            quantize.output[i] = spec.name
    value.type.tensor_type.elem_type = code
    return _integer_spec(spec, scale, zero_point, code)


def _grid(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[float, int, int]:
    """Returns (scale, zero point, ONNX type code) of a quantize or dequantize node with one scale for the tensor."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zero_point = tensors[node.input[2]]
    return (
        float(numpy_helper.to_array(tensors[node.input[1]]).reshape(-1)[0]),
        int(numpy_helper.to_array(zero_point).reshape(-1)[0]),
        int(zero_point.data_type),
    )


def _reroute(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


def _integer_spec(spec: TensorSpec, scale: float, zero_point: int, code: int) -> TensorSpec:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(code).name
    return replace(spec, dtype=dtype, scale=scale, zero_point=zero_point)
