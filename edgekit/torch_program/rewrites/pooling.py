"""Pooling that not every format has: adaptive maxima, and the way back from maxima to their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.torch_program.rewrites.call import Call


def adaptive_max(call: Call) -> Callable[..., Any] | None:
    """Writes adaptive maximum pooling as the maxima of slices, one axis after the other.

    Bin i of an axis of n pixels reaches from floor(i n / bins) to ceil((i + 1) n / bins).
    """
    import torch

    shape, bins = call.shape("self"), [int(size) for size in call["output_size"]]
    bins = bins * (len(shape) - 2) if len(bins) == 1 else bins
    if len(shape) != len(bins) + 2:
        return None

    def pooled(x: Any) -> Any:
        for axis, count in enumerate(bins, start=2):
            size = x.shape[axis]
            edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
            x = torch.cat([x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in edges], axis)
        return x, torch.zeros(x.shape, dtype=torch.int64)

    return pooled


def max_unpool(call: Call) -> Callable[..., Any] | None:
    """Writes the inverse of maximum pooling as a scatter into zeros."""
    import torch

    shape = call.result_shape
    if len(call.shape("self")) != 4:
        return None

    def unpooled(x: Any, places: Any) -> Any:
        zeros = torch.zeros((*shape[:2], shape[2] * shape[3]), dtype=x.dtype)
        return zeros.scatter(2, places.flatten(2), x.flatten(2)).reshape(shape)

    return unpooled
