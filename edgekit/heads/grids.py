"""The grids of a head: centres of its cells level by level, and outputs (levels or joined) as rows a cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.decoder import Shapes


def numbers(text: str, setting: str) -> tuple[float, ...]:
    """Returns the numbers of a setting, separated by commas.

    Raises:
        DataError: one is no number.
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise DataError(
            f'[head] {setting} is "{text}"; expected numbers with commas between, such as "8,16,32".'
        ) from None


def levels(size: tuple[int, int], strides: tuple[float, ...]) -> list[tuple[int, int]]:
    """Returns rows and columns of each level's cells; a part of a cell at the edge is one."""
    return [(math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in strides]


def cells(size: tuple[int, int], strides: tuple[float, ...]) -> int:
    """Returns how many cells all levels have."""
    return sum(rows * columns for rows, columns in levels(size, strides))


def centres(
    size: tuple[int, int], strides: tuple[float, ...], offset: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (x and y of each cell's centre in units of its stride (cells, 2), its stride (cells, 1)), row by row."""
    import numpy as np

    points: list[NDArray[np.float64]] = []
    for rows, columns in levels(size, strides):
        y, x = np.mgrid[:rows, :columns]
        points.append(np.stack([x, y], axis=-1).reshape(-1, 2) + offset)
    counts = [len(level) for level in points]
    return np.concatenate(points), np.repeat(np.asarray(strides, np.float64), counts)[:, None]


def without_ones(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Returns a shape of `rank` sizes or fewer: sizes of 1 at the front dropped."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def as_rows(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Returns a joined output as (count, channels): (count, C), (C, count) or a map (C, h, w) or (h, w, C)."""
    array = array.reshape(without_ones(array.shape, 3))
    if array.ndim == 3:
        if array.shape[1] * array.shape[2] == count:
            return array.reshape(array.shape[0], count).T
        return array.reshape(count, array.shape[2])
    return array if array.shape[0] == count else array.T


def channels(shape: tuple[int, ...], count: int) -> int | None:
    """Returns the channels of an output that says something of `count` cells each, None where it is not such a one."""
    shape = without_ones(shape, 3)
    if len(shape) == 3:
        return shape[0] if shape[1] * shape[2] == count else shape[2] if shape[0] * shape[1] == count else None
    if len(shape) != 2 or count not in shape:
        return None
    return shape[1] if shape[0] == count else shape[0]


def gather(arrays: tuple[NDArray[Any], ...], counts: list[int], width: int) -> NDArray[Any] | None:
    """Returns the outputs of `width` channels, one a level and in the levels' order, as rows (cells, width).

    An output that holds all levels counts too. None where a level is missing.
    """
    import numpy as np

    whole = [array for array in arrays if channels(array.shape, sum(counts)) == width]
    if whole:
        return as_rows(whole[0], sum(counts))
    found: list[NDArray[Any]] = []
    for count in counts:
        level = [array for array in arrays if channels(array.shape, count) == width]
        if not level:
            return None
        found.append(as_rows(level[0], count))
    return np.concatenate(found)


def corners(centre: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns boxes x1, y1, x2, y2 (n, 4) from centres and sizes, (n, 2) each."""
    import numpy as np

    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def around(points: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns boxes (n, 4) from points (n, 2) and distances to the left, top, right and bottom (n, 4)."""
    import numpy as np

    return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)


def expectation(logits: NDArray[np.float64], sides: int = 4) -> NDArray[np.float64]:
    """Returns the expected distances (n, sides) of distributions (n, sides * bins): softmax, then sum of p * bin.

    Li et al. 2020, "Generalized Focal Loss", section 3.
    """
    import numpy as np

    shaped = logits.reshape(len(logits), sides, -1)
    return softmax(shaped) @ np.arange(shaped.shape[-1], dtype=np.float64)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the softmax over the last axis."""
    import numpy as np

    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True), np.float64)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 / (1 + exp(-x))."""
    from scipy.special import expit

    return expit(logits)


def joined(arrays: tuple[NDArray[Any], ...], count: int) -> NDArray[Any]:
    """Returns all outputs that say something of `count` cells, beside each other: (count, channels), maybe none."""
    import numpy as np

    found = [as_rows(array, count) for array in arrays if channels(array.shape, count) is not None]
    return np.concatenate([np.empty((count, 0)), *found], axis=1)


def joined_width(shapes: Shapes, count: int) -> int:
    """Returns the channels of all outputs that say something of `count` cells."""
    return sum(channels(shape, count) or 0 for shape in shapes)


def by_level(arrays: tuple[NDArray[Any], ...], counts: list[int]) -> NDArray[Any]:
    """Returns the outputs of each level beside each other, the levels below each other: (cells, channels)."""
    import numpy as np

    return np.concatenate([joined(arrays, count) for count in counts])


def level_width(shapes: Shapes, counts: list[int]) -> int:
    """Returns the channels that every level has, 0 where they differ or a level has none."""
    widths = {joined_width(shapes, count) for count in counts}
    return widths.pop() if len(widths) == 1 else 0
