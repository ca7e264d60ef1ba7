"""Elementwise arithmetic, comparison, logic and conversion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel, Value


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda call: function(call.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda call: function(call.tensor("x"), call.tensor("y"))


def _with_epsilon(function: Callable[[Tensor], Tensor], default: float) -> Kernel:
    return lambda call: function(call.tensor("x") + call.number("epsilon", default))


def _cast(call: Call) -> Tensor:
    x, dtype = call.tensor("x"), call.output_dtype()
    if dtype == "bool" or not dtype.startswith(("int", "uint")):
        return x  # the interpreter converts to the declared type
    whole = x.to(torch.int32)  # fractions are cut off; a narrower type then keeps the low bits
    return whole & 0xFFFF if dtype == "uint16" else whole


def _clip(call: Call) -> Tensor:
    return call.tensor("x").clamp(call.number("alpha", 0.0), call.number("beta", 1.0))


def _clip_in_place(call: Call) -> Tensor:
    return call.tensor("x").clamp_(call.number("alpha", 0.0), call.number("beta", 1.0))


def _floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def _identity(call: Call) -> Value:
    return call.value("x")


def _real_div(x: Tensor, y: Tensor) -> Tensor:
    # The quotient of integers has an integer type, and conversion to it cuts fractions off.
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _threshold(call: Call) -> Tensor:
    x = call.tensor("x")
    return torch.maximum(x, call.tensor("alpha").to(x.dtype))


OPERATORS: dict[str, Kernel] = {
    "abs": _unary(torch.abs),
    "acos": _unary(torch.acos),
    "add": _binary(torch.add),
    "asin": _unary(torch.asin),
    "atan": _unary(torch.atan),
    "atanh": _unary(torch.atanh),
    "cast": _cast,
    "ceil": _unary(torch.ceil),
    "clip": _clip,
    "cos": _unary(torch.cos),
    "cosh": _unary(torch.cosh),
    "equal": _binary(torch.eq),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "floor_div": _binary(_floor_div),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "identity": _identity,
    "inverse": _with_epsilon(torch.reciprocal, 1e-4),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "log": _with_epsilon(torch.log, 1e-45),
    "logical_and": _binary(torch.logical_and),
    "logical_not": _unary(torch.logical_not),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "real_div": _binary(_real_div),
    "round": _unary(torch.round),  # halves to even, as value_inference (NumPy) does
    "rsqrt": _with_epsilon(torch.rsqrt, 1e-12),
    "sign": _unary(torch.sign),
    "sin": _unary(torch.sin),
    "sinh": _unary(torch.sinh),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "sub": _binary(torch.sub),
    "tan": _unary(torch.tan),
    "tanh": _unary(torch.tanh),
    "threshold": _threshold,
}
"""By operator type."""

IN_PLACE: dict[str, Kernel] = {"clip": _clip_in_place, "relu": lambda call: call.tensor("x").relu_()}
"""The same, of values that nobody else needs: the result takes their place."""
