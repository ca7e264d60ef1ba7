"""Orders: sorting as the largest of all, and places among boundaries by counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


_LARGEST = 1 << 20
"""Comparisons of all elements with all that are made in the place of sorting."""


def sort(call: Call) -> Function | None:
    """Writes sorting as `topk` of all elements; by ranks where equal ones must keep their order, and of integers."""
    return _sorting(call)


def argsort(call: Call) -> Function | None:
    """Writes the places of sorted elements as `sort` does."""
    ordered = _sorting(call)
    return None if ordered is None else (lambda x: ordered(x)[1])


def _sorting(call: Call) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
    """Returns what gives the sorted elements and their places, None where nothing simple does."""
    shape = call.shape("self")
    axis, descending = int(call["dim"]), bool(call["descending"])
    if not shape:
        return None
    if call.arguments.get("stable") or not call["self"].dtype.is_floating_point:
        few = call["self"].numel() * shape[axis] <= _LARGEST
        return (lambda x: _ranked(x, axis, descending=descending)) if few else None
    return lambda x: _largest(x, shape[axis], axis, negated=not descending)


def ranked(call: Call) -> Function | None:
    """Writes a median or k-th smallest value along an axis, and its place, as the last of so many smallest ones."""
    shape = call.shape("self")
    if not shape or not call["self"].dtype.is_floating_point:
        return None
    axis, kept = int(call["dim"]) % len(shape), bool(call["keepdim"])
    count = int(call.arguments.get("k", (shape[axis] + 1) // 2))

    def last(x: Tensor) -> tuple[Tensor, ...]:
        found = [item.narrow(axis, count - 1, 1) for item in _largest(x, count, axis, negated=True)]
        return tuple(item if kept else item.squeeze(axis) for item in found)

    return last


def topk(call: Call) -> Function | None:
    """Writes the smallest elements as the largest of the negated ones, along the last axis."""
    rank, count = len(call.shape("self")), int(call["k"])
    axis, negated = int(call["dim"]), not call["largest"]
    if (not negated and axis % max(rank, 1) == rank - 1) or not rank or not call["self"].dtype.is_floating_point:
        return None
    return lambda x: _largest(x, count, axis, negated=negated)


def topk_by_places(call: Call) -> Function | None:
    """Writes the largest elements as those at their places, where nobody reads the places: LiteRT wants them read."""
    rank, count, axis = len(call.shape("self")), int(call["k"]), int(call["dim"])
    if 1 in call.read or axis % max(rank, 1) != rank - 1:
        return None

    def chosen(x: Tensor) -> tuple[Tensor, ...]:
        places = x.topk(count, -1)[1]
        return x.gather(-1, places), places

    return chosen


def _ranked(x: Tensor, axis: int, *, descending: bool) -> tuple[Tensor, Tensor]:
    """Returns the sorted elements, none of which is NaN, and their places: a rank is how many come before."""
    import torch

    line = x.movedim(axis, -1)
    count = torch.arange(line.shape[-1])
    values = line.long() if line.dtype == torch.bool else line
    own, other = values.unsqueeze(-1), values.unsqueeze(-2)
    earlier = (other == own) & (count.unsqueeze(0) < count.unsqueeze(1))
    before = (other > own if descending else other < own) | earlier
    rank = before.long().sum(-1)
    places = torch.where(rank.unsqueeze(-2) == count.unsqueeze(-1), count, torch.zeros((), dtype=torch.int64)).sum(-1)
    return torch.gather(line, -1, places).movedim(-1, axis), places.movedim(-1, axis)


def _largest(x: Tensor, count: int, axis: int, *, negated: bool) -> tuple[Tensor, Tensor]:
    """Returns the largest elements along an axis and their places; LiteRT finds them along the last one only."""
    last = axis % x.ndim == x.ndim - 1
    line = x if last else x.transpose(axis, -1)
    values, places = (-line if negated else line).topk(count, -1)
    values = -values if negated else values
    return (values, places) if last else (values.transpose(axis, -1), places.transpose(axis, -1))


def bucketize(call: Call) -> Function | None:
    """Writes the place of each value among boundaries as how many boundaries lie before it."""
    import torch

    dtype, right = (torch.int32 if call["out_int32"] else torch.int64), call["right"]

    def counted(x: Tensor, boundaries: Tensor) -> Tensor:
        wide = x.unsqueeze(-1)
        before = wide >= boundaries if right else wide > boundaries
        return before.to(torch.int32).sum(-1, dtype=dtype)

    return counted if "self" in call.arguments and hasattr(call["self"], "shape") else None
