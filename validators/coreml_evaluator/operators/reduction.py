"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel

Reduction: TypeAlias = Callable[[Tensor, list[int], bool], Tensor]


def _over_axes(function: Reduction) -> Kernel:
    def kernel(call: Call) -> Tensor:
        x = call.tensor("x")
        if x.dim() == 0:  # a scalar has no axes to name
            return function(x.reshape(1), [0], False)
        axes = call.integers("axes", range(x.dim()))
        return function(x, axes, call.flag("keep_dims", default=False))

    return kernel


def _index_of(function: Callable[[Tensor, int, bool], Tensor]) -> Kernel:
    def kernel(call: Call) -> Tensor:
        return function(call.tensor("x"), call.integer("axis", -1), call.flag("keep_dims", default=False))

    return kernel


def _real(x: Tensor) -> Tensor:
    """Means, roots and logarithms of integers are computed as reals; conversion back cuts fractions off."""
    return x if x.is_floating_point() else x.double()


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001  # a Reduction
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


OPERATORS: dict[str, Kernel] = {
    "reduce_argmax": _index_of(lambda x, axis, keep: x.argmax(axis, keepdim=keep)),
    "reduce_argmin": _index_of(lambda x, axis, keep: x.argmin(axis, keepdim=keep)),
    "reduce_l1_norm": _over_axes(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "reduce_l2_norm": _over_axes(lambda x, axes, keep: _real(x).square().sum(axes, keepdim=keep).sqrt()),
    "reduce_log_sum": _over_axes(lambda x, axes, keep: _real(x).sum(axes, keepdim=keep).log()),
    "reduce_log_sum_exp": _over_axes(lambda x, axes, keep: torch.logsumexp(_real(x), axes, keepdim=keep)),
    "reduce_max": _over_axes(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "reduce_mean": _over_axes(lambda x, axes, keep: _real(x).mean(axes, keepdim=keep)),
    "reduce_min": _over_axes(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "reduce_prod": _over_axes(_product),
    "reduce_sum": _over_axes(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "reduce_sum_square": _over_axes(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
}
"""By operator type."""
