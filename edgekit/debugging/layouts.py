"""How the same values can lie in two tensors: channels first or last, or one shape flattened into another."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Layout = Literal["same", "channels_last", "channels_first"]
"""Where the artifact's tensor has the channels that lie on axis 1 (`channels_last`) or at the end of the float one."""


def possible_layouts(wanted: tuple[int, ...], given: tuple[int, ...]) -> tuple[Layout, ...]:
    """Returns the ways in which a tensor of shape `given` can hold the values of one of shape `wanted`."""
    if math.prod(wanted) != math.prod(given):
        return ()
    found: list[Layout] = ["same"]
    if len(wanted) >= 3:
        last = (wanted[0], *wanted[2:], wanted[1])
        first = (wanted[0], wanted[-1], *wanted[1:-1])
        if _squeezed(given) == _squeezed(last):
            found.append("channels_last")
        if _squeezed(given) == _squeezed(first) and len(wanted) > 3:
            found.append("channels_first")
        if len(found) > 1 and _squeezed(given) != _squeezed(wanted):
            found.remove("same")  # another order of values, unless both fit
    return tuple(found)


def in_layout(array: NDArray[Any], wanted: tuple[int, ...], layout: Layout) -> NDArray[Any]:
    """Returns the artifact's values in the float tensor's shape and order; a view where it can be."""
    if layout == "channels_last":
        return np.moveaxis(array.reshape(wanted[0], *wanted[2:], wanted[1]), -1, 1)
    if layout == "channels_first":
        return np.moveaxis(array.reshape(wanted[0], wanted[-1], *wanted[1:-1]), 1, -1)
    return array.reshape(wanted)


@cache
def positions(count: int, most: int) -> NDArray[np.int64]:
    """Returns up to `most` of `count` flat positions, the same ones each time."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))


@cache
def positions_in(wanted: tuple[int, ...], given: tuple[int, ...], layout: Layout, most: int) -> NDArray[np.int64]:
    """Returns where in the artifact's flat tensor the values at `positions` of the float tensor lie."""
    count = math.prod(wanted)
    places = in_layout(np.arange(count).reshape(given), wanted, layout)
    return np.ascontiguousarray(places).reshape(-1)[positions(count, most)]


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
