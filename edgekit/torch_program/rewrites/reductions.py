"""Sums and means that convert what they read, and two figures at once: not every format has them as torch does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def of_one_type(call: Call) -> Function | None:
    """Writes the conversion of a sum or mean in front of it: counts of a mask are integers, `dtype=` is obeyed.

    Core ML counts a mask in floats, which no gather takes as places, and ignores `dtype=`.
    """
    wanted = call.results[0].dtype
    if call["self"].dtype == wanted:
        return None
    settings = {name: value for name, value in call.arguments.items() if name not in ("self", "dtype")}

    def reduced(x: Tensor) -> object:
        return call.operator(x.to(wanted), **settings)

    return reduced


def keeping_axes(call: Call) -> Function | None:
    """Writes a largest or smallest value as one that keeps its axes, and drops them afterwards."""
    if call["keepdim"]:
        return None
    axes = call["dim"] or list(range(len(call.shape("self"))))
    shape = call.result_shape

    def reduced(x: Tensor) -> object:
        kept: Tensor = call.operator(x, axes, True)
        return kept.reshape(shape)

    return reduced


def values_keeping_axes(call: Call) -> Function | None:
    """Writes the largest values along an axis, where nobody reads their places, as a maximum that keeps the axis."""
    if "dim" not in call.arguments or 1 in call.read or not call["self"].dtype.is_floating_point:
        return None
    axis, shape = int(call["dim"]), call.result_shape

    def largest(x: Tensor) -> tuple[Tensor, Tensor]:
        values = x.amax(axis, keepdim=True).reshape(shape)
        return values, values

    return largest


def deviation_and_mean(call: Call) -> Function | None:
    """Writes a variance or standard deviation with its mean as two operators."""
    import torch

    alone = torch.var if "var" in str(call.operator) else torch.std
    given = call.arguments
    axes = given.get("dim") or list(range(len(call.shape("self"))))
    kept = bool(given.get("keepdim", False))
    degrees = given.get("correction", int(given.get("unbiased", True)))

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        found = alone(x, axes, correction=1 if degrees is None else degrees, keepdim=kept)
        return found, x.mean(axes, keepdim=kept)

    return both
