"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def _batch_norm(node: Node) -> Function:
    import torch

    if node.number("training_mode", 0) or node.outputs > 1:
        raise UnsupportedError("it is a batch norm in training mode; export the model in inference mode")
    epsilon = node.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None, mean: Tensor, variance: Tensor) -> Tensor:
        return torch.nn.functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)

    return run


def _instance_norm(node: Node) -> Function:
    import torch

    epsilon = node.number("epsilon", 1e-5)
    return lambda x, scale, bias: torch.nn.functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _layer_norm(node: Node) -> Function:
    import torch

    if node.outputs > 1:
        raise UnsupportedError("its second output, the mean, is used")
    axis = node.number("axis", -1) % node.rank()
    sizes = list(node.shape()[axis:])
    epsilon = node.number("epsilon", 1e-5)
    for i in (1, 2):
        if node.has(i) and node.is_constant[i] and node.shape(i) != tuple(sizes):
            node.replace(i, node.inputs[i].expand(sizes).contiguous())
    return lambda x, scale, bias=None: torch.nn.functional.layer_norm(x, sizes, scale, bias, epsilon)


def _group_norm(node: Node) -> Function:
    import torch

    groups = node.number("num_groups", 1)
    epsilon = node.number("epsilon", 1e-5)
    # Opset 18 has one scale a group, opset 21 one a channel.
    repeat = node.shape()[1] // groups if node.opset < 21 else 1
    for i in (1, 2):
        if repeat > 1 and not node.is_constant[i]:
            raise UnsupportedError("its scale or bias depends on the model's inputs")
        if repeat > 1:
            node.replace(i, node.inputs[i].repeat_interleave(repeat))
    return lambda x, scale, bias: torch.nn.functional.group_norm(x, groups, scale, bias, epsilon)


def _lrn(node: Node) -> Function:
    import torch

    size = node.number("size", 1)
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    if size % 2 == 1:
        return lambda x: torch.nn.functional.local_response_norm(x, size, alpha, beta, bias)
    raise UnsupportedError(f"its size {size} is even, where ONNX and torch centre the window differently")


def _lp_norm(node: Node) -> Function:
    import torch

    axis, power = node.number("axis", -1), node.number("p", 2)
    return lambda x: x / torch.linalg.vector_norm(x, power, axis, keepdim=True)


def _mean_variance_norm(node: Node) -> Function:
    import torch

    axes = [int(axis) for axis in node.number("axes", [0, 2, 3])]

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (torch.sqrt((centred * centred).mean(axes, keepdim=True)) + 1e-9)

    return run


OPERATORS: Final[Mapping[str, Builder]] = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "LRN": _lrn,
    "LpNormalization": _lp_norm,
    "MeanVarianceNormalization": _mean_variance_norm,
}
"""Operator type to builder."""
