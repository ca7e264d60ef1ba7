"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node

if TYPE_CHECKING:
    from torch import Tensor


def _plain(name: str) -> Builder:
    def build(_: Node) -> Function:
        import torch

        function: Function = getattr(torch.nn.functional, name)
        return function

    return build


def _leaky_relu(node: Node) -> Function:
    import torch

    slope = node.number("alpha", 0.01)
    return lambda x: torch.nn.functional.leaky_relu(x, slope)


def _prelu(node: Node) -> Function:
    import torch

    # ONNX broadcasts the slope as in arithmetic, torch counts channels along axis 1.
    size = node.inputs[1].numel()
    if node.is_constant[1] and node.rank() > 1 and size in (1, node.shape()[1]):
        wanted = (1, size, *[1] * (node.rank() - 2))
        same = tuple([1] * (node.rank() - node.rank(1))) + node.shape(1)
        if size == 1 or same == wanted:
            node.replace(1, node.inputs[1].reshape(-1))
            function: Function = torch.nn.functional.prelu
            return function
    return lambda x, slope: torch.where(x < 0, x * slope, x)


def _elu(node: Node) -> Function:
    import torch

    alpha = node.number("alpha", 1.0)
    if node.operator == "Celu":
        return lambda x: torch.nn.functional.celu(x, alpha)
    return lambda x: torch.nn.functional.elu(x, alpha)


def _selu(node: Node) -> Function:
    import torch

    alpha, gamma = node.number("alpha", 1.67326319217681884765625), node.number("gamma", 1.05070102214813232421875)
    return lambda x: gamma * torch.nn.functional.elu(x, alpha)


def _hard_sigmoid(node: Node) -> Function:
    import torch

    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    # torch's is relu6(x + 3) / 6: its own operator, which converters fuse.
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        function: Function = torch.nn.functional.hardsigmoid
        return function
    return lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0)


def _softmax(node: Node) -> Function:
    import torch

    function = torch.softmax if node.operator == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        axis = node.number("axis", -1)
        return lambda x: function(x, axis)
    # Before opset 13 all axes from `axis` on are one.
    axis = node.number("axis", 1) % max(node.rank(), 1)
    if axis == node.rank() - 1:
        return lambda x: function(x, -1)
    return lambda x: function(x.flatten(axis), -1).reshape(x.shape)


def _hardmax(node: Node) -> Function:
    import torch

    axis = node.number("axis", -1 if node.opset >= 13 else 1)

    def run(x: Tensor) -> Tensor:
        ones = torch.nn.functional.one_hot(x.argmax(axis), x.shape[axis]).to(x.dtype)
        return ones.movedim(-1, axis)

    return run


def _gelu(node: Node) -> Function:
    import torch

    approximate = node.number("approximate", "none")
    return lambda x: torch.nn.functional.gelu(x, approximate=approximate)


def _clip(node: Node) -> Function:
    import torch

    low = node.constant(1, "minimum").item() if node.has(1) else None
    high = node.constant(2, "maximum").item() if node.has(2) else None
    if low is None and high is None:
        return lambda x, *_: x
    # The form of ReLU and ReLU6 that converters fuse into the layer before.
    if low == 0 and high is None and node.inputs[0].is_floating_point():
        return lambda x, *_: torch.relu(x)
    if low is not None and high is not None and node.inputs[0].is_floating_point():
        return lambda x, *_: torch.nn.functional.hardtanh(x, low, high)
    return lambda x, *_: torch.clamp(x, low, high)


def _thresholded_relu(node: Node) -> Function:
    import torch

    alpha = node.number("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _shrink(node: Node) -> Function:
    import torch

    bias, limit = node.number("bias", 0.0), node.number("lambd", 0.5)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))

    return run


OPERATORS: Final[Mapping[str, Builder]] = {
    "Relu": _plain("relu"),
    "Softplus": _plain("softplus"),
    "Softsign": _plain("softsign"),
    "Mish": _plain("mish"),
    "HardSwish": _plain("hardswish"),
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "Celu": _elu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _hardmax,
    "Gelu": _gelu,
    "Clip": _clip,
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
}
"""Operator type to builder."""
