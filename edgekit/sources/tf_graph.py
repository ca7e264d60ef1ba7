"""Facts of a TensorFlow function: a frozen graph, its operations, its digest. Runs in a worker that has TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

from edgekit.sources.tf_protocols import TFFunction, TFOperation, TFTensor
from edgekit.torch_program.architecture import Operation, Role
from edgekit.torch_program.digest import Digest

_PASS_THROUGH: Final = frozenset({"Identity", "NoOp"})
_INCIDENTAL: Final = frozenset({"_output_shapes", "_class", "_XlaMustCompile", "grappler_skip"})
"""Attributes that say nothing about what is computed."""


def freeze(function: TFFunction) -> TFFunction:
    """Returns a concrete function with its variables as constants and its calls inlined."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return cast("TFFunction", convert_variables_to_constants_v2(function, lower_control_flow=False))


def operations(frozen: TFFunction) -> list[Operation]:
    """Returns the operations that cost multiply-accumulates or tell the family; a loop is one recurrent one."""
    return [found for op in frozen.graph.get_operations() if (found := _operation(op)) is not None]


def _operation(op: TFOperation) -> Operation | None:
    kind = op.type
    if kind in ("Conv2D", "Conv3D", "DepthwiseConv2dNative"):
        kernel = _shape(op.inputs[1])
        taps = _product(kernel[:-1] if kind != "DepthwiseConv2dNative" else kernel[:-2])
        depthwise = kind == "DepthwiseConv2dNative"
        return Operation(role="depthwise" if depthwise else "convolution", macs=_times(_size(op.outputs[0]), taps))
    if kind in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        # kernel: (k, k, C_out, C_in); each input value meets every tap and output channel.
        taps = _product(_shape(op.inputs[1])[:-1])
        return Operation(role="convolution", macs=_times(_size(op.inputs[2]), taps))
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = op.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        inner = _shape(op.inputs[0])[-2 if transposed else -1]
        role: Role = "linear" if _is_weight(op.inputs[1]) else "matmul"
        return Operation(role=role, macs=_times(_size(op.outputs[0]), inner))
    if kind == "Einsum":
        return _einsum(op)
    if kind in ("While", "StatelessWhile"):
        return Operation(role="recurrent", macs=None)
    if kind == "Softmax":
        return Operation(role="softmax")
    if kind in ("GatherV2", "ResourceGather") and _is_weight(op.inputs[0]) and len(_shape(op.inputs[0])) == 2:
        return Operation(role="embedding")
    return None


def _einsum(op: TFOperation) -> Operation:
    equation = op.get_attr("equation").decode().replace(" ", "")
    role: Role = "linear" if any(_is_weight(tensor) for tensor in op.inputs) else "matmul"
    if "." in equation:
        return Operation(role=role, macs=None)
    sizes: dict[str, int | None] = {}
    for letters, tensor in zip(equation.split("->")[0].split(","), op.inputs, strict=True):
        sizes |= dict(zip(letters, _shape(tensor), strict=True))
    return Operation(role=role, macs=_product(list(sizes.values())))


def _is_weight(tensor: TFTensor) -> bool:
    """Returns whether a tensor is a constant, seen through operators with one input."""
    op = tensor.op
    while op.type in ("Identity", "Transpose", "Reshape", "Cast", "ExpandDims") and op.inputs:
        op = op.inputs[0].op
    return bool(op.type == "Const")


def _shape(tensor: TFTensor) -> list[int | None]:
    return list(tensor.shape) if tensor.shape.rank is not None else [None]


def _size(tensor: TFTensor) -> int | None:
    return _product(_shape(tensor))


def _product(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _times(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left * right


def digest(frozen: TFFunction, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Returns a hash of a frozen graph and its weights; names of inner operators, which carry counters, stay out."""
    hashed = Digest()
    hashed.add("inputs", tuple(inputs), "outputs", tuple(outputs))
    index: dict[str, int] = {}
    position = {op.name: i for i, op in enumerate(_in_order(frozen.outputs))}
    places: Mapping[str, int] = {tensor.op.name: i for i, tensor in enumerate(frozen.inputs)}
    for op in _in_order(frozen.outputs):
        index[op.name] = position[op.name]
        hashed.add(op.type, places.get(op.name, -1), tuple((position[t.op.name], t.value_index) for t in op.inputs))
        _add_attributes(hashed, op, frozen)
    return hashed.hexdigest()


def _in_order(outputs: Sequence[TFTensor]) -> list[TFOperation]:
    """Returns the operators that the outputs need, inputs first, in an order that the graph alone decides."""
    order: list[TFOperation] = []
    seen: set[str] = set()
    stack: list[tuple[TFOperation, bool]] = [(tensor.op, False) for tensor in reversed(outputs)]
    while stack:
        op, done = stack.pop()
        if done:
            order.append(op)
        elif op.name not in seen:
            seen.add(op.name)
            stack.append((op, True))
            stack.extend((tensor.op, False) for tensor in reversed(op.inputs))
    return order


def _add_attributes(hashed: Digest, op: TFOperation, frozen: TFFunction) -> None:
    import tensorflow as tf

    for key, value in sorted(op.node_def.attr.items()):
        if key == "value" and op.type == "Const":
            hashed.add_array(tf.make_ndarray(value.tensor))
        elif value.HasField("func"):
            # The body of a loop: its nodes by type and constants; its name carries a counter.
            hashed.add(key)
            body = frozen.graph._get_function(value.func.name)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way
            for node in body.cached_definition.node_def:
                hashed.add(node.op)
                if node.op == "Const":
                    hashed.add_array(tf.make_ndarray(node.attr["value"].tensor))
        elif key not in _INCIDENTAL:
            hashed.add(key, value.SerializeToString(deterministic=True).hex())
