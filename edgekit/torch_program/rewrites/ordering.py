"""Orders: sorting as the largest of all, and places among boundaries by counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.torch_program.rewrites.call import Call


def sort(call: Call) -> Callable[..., Any] | None:
    """Writes sorting as `topk` of all elements, unless equal ones must keep their order."""
    shape = call.shape("self")
    axis, descending = int(call["dim"]), bool(call["descending"])
    if call.arguments.get("stable") or not shape or not call["self"].dtype.is_floating_point:
        return None

    def ordered(x: Any) -> Any:
        values, places = (x if descending else -x).topk(shape[axis], axis)
        return values if descending else -values, places

    return ordered


def argsort(call: Call) -> Callable[..., Any] | None:
    """Writes the places of sorted elements with `topk`, as `sort`."""
    made = sort(call)
    return None if made is None else lambda x: made(x)[1]


def topk(call: Call) -> Callable[..., Any] | None:
    """Writes the smallest elements as the largest of the negated ones."""
    axis, count = int(call["dim"]), int(call["k"])
    if call["largest"] or not call["self"].dtype.is_floating_point:
        return None

    def smallest(x: Any) -> Any:
        values, places = (-x).topk(count, axis)
        return -values, places

    return smallest


def bucketize(call: Call) -> Callable[..., Any] | None:
    """Writes the place of each value among boundaries as how many boundaries lie before it."""
    import torch

    dtype, right = (torch.int32 if call["out_int32"] else torch.int64), call["right"]

    def counted(x: Any, boundaries: Any) -> Any:
        wide = x.unsqueeze(-1)
        before = wide >= boundaries if right else wide > boundaries
        return before.to(torch.int32).sum(-1, dtype=dtype)

    return counted if "self" in call.arguments and hasattr(call["self"], "shape") else None
