"""Activation functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _clamped_relu(call: Call) -> Tensor:
    x = call.tensor("x")
    scaled = torch.where(x >= 0, x, x * call.number("alpha", 0.0))
    return scaled.clamp(max=call.number("beta", 0.0))


def _elu(call: Call) -> Tensor:
    return functional.elu(call.tensor("x"), call.number("alpha", 1.0))


def _gelu(call: Call) -> Tensor:
    x, mode = call.tensor("x"), call.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return functional.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _leaky_relu(call: Call) -> Tensor:
    return functional.leaky_relu(call.tensor("x"), call.number("alpha", 0.01))


def _linear_activation(call: Call) -> Tensor:
    return call.tensor("x") * call.number("alpha", 1.0) + call.number("beta", 0.0)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Returns a vector over axis 1 of `x`, shaped to broadcast against it."""
    return values.reshape([1, -1] + [1] * (x.dim() - 2))


def _prelu(call: Call) -> Tensor:
    x = call.tensor("x")
    return torch.where(x > 0, x, x * _per_channel(call.tensor("alpha"), x))


def _relu6(call: Call) -> Tensor:
    return call.tensor("x").clamp(0, 6)


def _scaled_tanh(call: Call) -> Tensor:
    return call.number("alpha", 1.0) * torch.tanh(call.number("beta", 1.0) * call.tensor("x"))


def _sigmoid_hard(call: Call) -> Tensor:
    return (call.tensor("x") * call.number("alpha", 0.2) + call.number("beta", 0.5)).clamp(0, 1)


def _softmax(call: Call) -> Tensor:
    return torch.softmax(call.tensor("x"), call.integer("axis", -1))


def _softplus_parametric(call: Call) -> Tensor:
    x = call.tensor("x")
    alpha, beta = _per_channel(call.tensor("alpha"), x), _per_channel(call.tensor("beta"), x)
    return alpha * torch.logaddexp(beta * x, torch.zeros(()))


def _thresholded_relu(call: Call) -> Tensor:
    x = call.tensor("x")
    return torch.where(x >= call.number("alpha", 1.0), x, torch.zeros(()))


OPERATORS: dict[str, Kernel] = {
    "clamped_relu": _clamped_relu,
    "elu": _elu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "linear_activation": _linear_activation,
    "prelu": _prelu,
    "relu": lambda call: torch.relu(call.tensor("x")),
    "relu6": _relu6,
    "scaled_tanh": _scaled_tanh,
    "sigmoid": lambda call: torch.sigmoid(call.tensor("x")),
    "sigmoid_hard": _sigmoid_hard,
    "silu": lambda call: functional.silu(call.tensor("x")),
    "softmax": _softmax,
    "softplus": lambda call: torch.logaddexp(call.tensor("x"), torch.zeros(())),
    "softplus_parametric": _softplus_parametric,
    "softsign": lambda call: functional.softsign(call.tensor("x")),
    "thresholded_relu": _thresholded_relu,
}
"""By operator type."""
