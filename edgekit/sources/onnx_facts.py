"""Facts of an ONNX graph with inferred shapes: parameters, multiply-accumulates, digest. Runs onnx, in a worker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.analysis.onnx_normal_form import graphs_of
from edgekit.torch_program.architecture import Operation, Role
from edgekit.torch_program.digest import Digest

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...] | None]
"""Shape of each tensor by name; None, or no entry, where it is not known."""


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Returns a node's attributes by name: numbers, bytes, tensors, graphs."""
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yields name and TensorProto of every weight: initializers and Constant nodes, those of bodies too."""
    for graph in graphs_of(model.graph):
        for tensor in graph.initializer:
            yield tensor.name, tensor
        for node in graph.node:
            if node.op_type == "Constant":
                value = attributes(node).get("value")
                if value is not None:
                    yield node.output[0], value


def count_parameters(model: onnx.ModelProto) -> int:
    """Returns the number of float weights. A tied weight is one initializer."""
    import onnx

    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    return sum(math.prod(tensor.dims) for _, tensor in _constants(model) if tensor.data_type in floats)


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...] | None]:
    """Returns the shape of every tensor whose shape is known."""
    found: dict[str, tuple[int, ...] | None] = {name: tuple(tensor.dims) for name, tensor in _constants(model)}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    return found


def operations(model: onnx.ModelProto) -> list[Operation]:
    """Returns the operations that cost multiply-accumulates or tell the family; bodies must have been laid out."""
    known = shapes(model)
    weights = {name for name, _ in _constants(model)}
    # A transposed or reshaped weight is a weight.
    for node in model.graph.node:
        if node.op_type in ("Transpose", "Reshape", "Identity", "Cast", "Unsqueeze") and node.input[0] in weights:
            weights.add(node.output[0])
    return [found for node in model.graph.node if (found := _operation(node, known, weights)) is not None]


def _size(known: Shapes, name: str) -> int | None:
    shape = known.get(name)
    return None if shape is None else math.prod(shape)


def _times(*factors: int | None) -> int | None:
    numbers = [factor for factor in factors if factor is not None]
    return math.prod(numbers) if len(numbers) == len(factors) else None


def _operation(node: onnx.NodeProto, known: Shapes, weights: set[str]) -> Operation | None:
    kind = node.op_type
    if kind in ("Conv", "ConvTranspose"):
        weight = known.get(node.input[1])
        taps = None if weight is None else math.prod(weight[1:])
        if kind == "ConvTranspose":
            return Operation(role="convolution", macs=_times(_size(known, node.input[0]), taps))
        groups = attributes(node).get("group", 1)
        depthwise = weight is not None and weight[1] == 1 and groups > 1
        macs = _times(_size(known, node.output[0]), taps)
        return Operation(role="depthwise" if depthwise else "convolution", macs=macs)
    if kind in ("Gemm", "MatMul"):
        left = known.get(node.input[0])
        inner = None if left is None else left[0 if kind == "Gemm" and attributes(node).get("transA", 0) else -1]
        role: Role = "linear" if node.input[1] in weights or node.input[0] in weights else "matmul"
        return Operation(role=role, macs=_times(_size(known, node.output[0]), inner))
    if kind == "Einsum":
        return _einsum(node, known, weights)
    if kind in ("LSTM", "GRU", "RNN"):
        sequence = known.get(node.input[0])
        steps = None if sequence is None else sequence[0] * sequence[1]
        matrices = [_size(known, node.input[1]), _size(known, node.input[2])]
        total = None if None in matrices else sum(size or 0 for size in matrices)
        return Operation(role="recurrent", macs=_times(steps, total))
    if kind in ("Attention", "MultiHeadAttention"):
        return Operation(role="attention", macs=None)
    if kind in ("Loop", "Scan"):
        # Its body was laid out beside it.
        return Operation(role="recurrent", macs=0)
    if kind == "Softmax":
        return Operation(role="softmax")
    table = known.get(node.input[0]) if kind == "Gather" and node.input[0] in weights else None
    # A table of words or positions; a vector of sizes is gathered from too.
    return Operation(role="embedding") if table is not None and len(table) == 2 else None


def _einsum(node: onnx.NodeProto, known: Shapes, weights: set[str]) -> Operation:
    equation = attributes(node)["equation"].decode().replace(" ", "")
    role: Role = "linear" if any(name in weights for name in node.input) else "matmul"
    sizes: dict[str, int] = {}
    for letters, name in zip(equation.split("->")[0].split(","), node.input, strict=True):
        shape = known.get(name)
        if shape is None or "." in letters:
            return Operation(role=role, macs=None)
        sizes |= dict(zip(letters, shape, strict=True))
    return Operation(role=role, macs=math.prod(sizes.values()) * (len(node.input) - 1))


def digest(model: onnx.ModelProto) -> str:
    """Returns a hash of graph, weights, opsets and names of inputs and outputs; names of inner tensors stay out."""
    from onnx import numpy_helper

    hashed = Digest()
    hashed.add(*sorted((entry.domain, entry.version) for entry in model.opset_import))
    position: dict[str, int] = {"": -1}
    for value in model.graph.input:
        hashed.add("input", value.name, value.type.SerializeToString(deterministic=True).hex())
        position[value.name] = len(position)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        if tensor.name in used:
            position[tensor.name] = _content(numpy_helper.to_array(tensor))
    for node in model.graph.node:
        hashed.add(node.domain, node.op_type, tuple(position.get(name, 0) for name in node.input))
        for name, value in sorted(attributes(node).items()):
            hashed.add(name)
            if hasattr(value, "raw_data"):
                hashed.add_array(numpy_helper.to_array(value))
            else:
                hashed.add(
                    value.SerializeToString(deterministic=True).hex() if hasattr(value, "ListFields") else repr(value)
                )
        for name in node.output:
            position[name] = len(position)
    for value in model.graph.output:
        hashed.add("output", value.name, position.get(value.name, 0))
    return hashed.hexdigest()


def _content(array: NDArray[Any]) -> int:
    """Returns a number that stands for a weight's content, so that its name does not matter."""
    one = Digest()
    one.add_array(array)
    return int(one.hexdigest(), 16)
