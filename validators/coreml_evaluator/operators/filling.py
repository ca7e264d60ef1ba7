"""Operators that make tensors or choose among elements: fills, ranges, one-hot, selection, running sums."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _cumsum(call: Call) -> Tensor:
    x, axis = call.tensor("x"), call.integer("axis", 0)
    if call.flag("reverse", default=False):
        x = x.flip(axis)
    total = x.cumsum(axis, dtype=x.dtype)
    if call.flag("exclusive", default=False):
        total = torch.cat([torch.zeros_like(total.narrow(axis, 0, 1)), total.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return total.flip(axis) if call.flag("reverse", default=False) else total


def _fill(call: Call) -> Tensor:
    value = call.optional("value")
    return (torch.zeros(()) if value is None else value.reshape(())).expand(call.integers("shape"))


def _fill_like(call: Call) -> Tensor:
    value = call.optional("value")
    return (torch.zeros(()) if value is None else value.reshape(())).expand(call.tensor("ref_tensor").shape)


def _non_zero(call: Call) -> Tensor:
    return torch.nonzero(call.tensor("x"))


def _one_hot(call: Call) -> Tensor:
    """Indices outside of the vector leave it all off."""
    indices, size = call.tensor("indices").long(), call.integer("one_hot_vector_size", 1)
    hot = indices.unsqueeze(-1) == torch.arange(size)
    on, off = call.optional("on_value"), call.optional("off_value")
    on_value = torch.ones((), dtype=torch.int32) if on is None else on
    off_value = torch.zeros((), dtype=torch.int32) if off is None else off
    axis = call.integer("axis", -1)
    return torch.where(hot, on_value, off_value).movedim(-1, axis % (indices.dim() + 1))


def _range_1d(call: Call) -> Tensor:
    start, end, step = call.tensor("start"), call.tensor("end"), call.tensor("step")
    first, last, by = start.item(), end.item(), step.item()
    count = max(0, ceil((last - first) / by))
    return start.reshape(()) + torch.arange(count, dtype=start.dtype) * step.reshape(())


def _select(call: Call) -> Tensor:
    return torch.where(call.tensor("cond").bool(), call.tensor("a"), call.tensor("b"))


OPERATORS: dict[str, Kernel] = {
    "cumsum": _cumsum,
    "fill": _fill,
    "fill_like": _fill_like,
    "non_zero": _non_zero,
    "one_hot": _one_hot,
    "range_1d": _range_1d,
    "select": _select,
}
"""By operator type."""
