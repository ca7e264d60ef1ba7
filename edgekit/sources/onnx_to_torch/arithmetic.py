"""Element-wise operators: arithmetic, comparison, logic, casts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    import torch

_UNARY: Final[Mapping[str, str]] = {
    **{
        name: name.lower()
        for name in ("Abs", "Neg", "Sign", "Ceil", "Floor", "Round", "Sqrt", "Reciprocal", "Exp", "Log")
    },
    **{name: name.lower() for name in ("Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh")},
    **{name: name.lower() for name in ("Acosh", "Atanh", "Tanh", "Sigmoid", "IsNaN")},
    "Not": "logical_not",
    "BitwiseNot": "bitwise_not",
}
"""ONNX operator to torch function with one argument."""

_BINARY: Final[Mapping[str, str]] = {
    **{name: name.lower() for name in ("Add", "Sub", "Mul", "Pow")},
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
}
"""ONNX operator to torch function with two arguments."""


def _unary(node: Node) -> Function:
    import torch

    function: Function = getattr(torch, _UNARY[node.operator])
    return function


def _scalar(node: Node, i: int) -> float | None:
    """Returns input `i` as a Python number if it is one constant and does not add axes, else None.

    Converters fuse a number into an operator; a tensor of one element they load, broadcast and quantize.
    """
    import torch

    other = node.inputs[1 - i]
    value = node.inputs[i]
    fits = node.is_constant[i] and not node.is_constant[1 - i] and value.numel() == 1 and value.ndim <= other.ndim
    if not fits or value.dtype == torch.bool:
        return None
    node.baked.add(i)
    return cast("float", value.item())


def binary(node: Node, function: Function) -> Function:
    """Returns `function` with a constant number bound in its place."""
    if (right := _scalar(node, 1)) is not None:
        return lambda a, _: function(a, right)
    if node.operator in ("Add", "Mul", "Sub") and (left := _scalar(node, 0)) is not None:
        return lambda _, b: function(b, left) if node.operator != "Sub" else left - b
    return function


def _binary(node: Node) -> Function:
    import torch

    function: Function = getattr(torch, _BINARY[node.operator])
    return binary(node, function)


def _div(node: Node) -> Function:
    import torch

    if node.inputs[0].is_floating_point():
        return binary(node, torch.div)
    return binary(node, lambda a, b: torch.div(a, b, rounding_mode="trunc"))


def _mod(node: Node) -> Function:
    import torch

    return binary(node, torch.fmod if node.number("fmod", 0) else torch.remainder)


def _variadic(node: Node) -> Function:
    import torch

    pair = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add, "Mean": torch.add}[node.operator]
    count = len(node.inputs)
    if node.operator == "Mean":
        return lambda *tensors: functools.reduce(pair, tensors) / count
    return lambda *tensors: functools.reduce(pair, tensors)


def _is_inf(node: Node) -> Function:
    import torch

    positive, negative = node.number("detect_positive", 1), node.number("detect_negative", 1)
    one_sided: Function = torch.isposinf if positive else torch.isneginf
    both: Function = torch.isinf
    return both if positive and negative else one_sided


def _where(_: Node) -> Function:
    import torch

    function: Function = torch.where
    return function


def torch_dtype(code: int) -> torch.dtype:
    """Returns the torch dtype of an ONNX element type; float16 becomes float32, in which models are captured.

    Raises:
        UnsupportedError: torch has no such dtype.
    """
    import torch

    # Numbers of onnx.TensorProto.DataType.
    dtypes = {
        1: torch.float32,
        2: torch.uint8,
        3: torch.int8,
        5: torch.int16,
        6: torch.int32,
        7: torch.int64,
        9: torch.bool,
        10: torch.float32,
        11: torch.float64,
        16: torch.float32,
    }
    if code not in dtypes:
        raise UnsupportedError(f"its element type {code} (onnx.TensorProto.DataType) has no counterpart in torch here")
    return dtypes[code]


def _cast(node: Node) -> Function:
    dtype = torch_dtype(node.number("to", 1))
    # C's rules: a float outside the integer's range is undefined in both.
    return lambda x: x.to(dtype)


def _cast_like(node: Node) -> Function:
    dtype = node.inputs[1].dtype
    node.baked.add(1)
    return lambda x, _=None: x.to(dtype)


def _identity(_: Node) -> Function:
    return lambda x, *_: x


def _dropout(node: Node) -> Function:
    import torch

    if node.has(2) and bool(node.constant(2, "training_mode").item()):
        raise UnsupportedError("it is a dropout in training mode; export the model in inference mode")
    node.baked.update(range(1, len(node.inputs)))
    if node.outputs > 1:
        return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))
    return lambda x, *_: x


OPERATORS: Final[Mapping[str, Builder]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(("Max", "Min", "Sum", "Mean"), _variadic),
    "Div": _div,
    "Mod": _mod,
    "IsInf": _is_inf,
    "Where": _where,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Identity": _identity,
    "Dropout": _dropout,
}
"""Operator type to builder."""
