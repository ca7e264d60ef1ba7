"""The grids of a head: centres of its cells level by level, and outputs (levels or joined) as rows a cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.decoder import Shapes


Cells = int | tuple[int, int]
"""How many cells an output speaks of, or the rows and columns of its level."""


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


def layout(shape: tuple[int, ...], cells: Cells) -> tuple[int, bool] | None:
    """Returns (channels, whether they come first) of an output about these cells, None where it is not such a one."""
    if isinstance(cells, tuple):
        level = without_ones(shape, 3)
        if level[1:] == cells:
            return level[0], True
        if level[:2] == cells and len(level) == 3:
            return level[2], False
    flat, count = without_ones(shape, 2), math.prod(cells) if isinstance(cells, tuple) else cells
    if len(flat) != 2 or count not in flat:
        return None
    return (flat[1], False) if flat[0] == count else (flat[0], True)


def channels(shape: tuple[int, ...], cells: Cells) -> int | None:
    """Returns the channels of an output that says something of each of these cells, None where it is not such a one."""
    found = layout(shape, cells)
    return found[0] if found else None


def as_rows(array: NDArray[Any], cells: Cells) -> NDArray[Any]:
    """Returns an output about these cells, for which `channels` is known, as (cells, channels)."""
    width, first = layout(array.shape, cells) or (1, False)
    return array.reshape(width, -1).T if first else array.reshape(-1, width)


def gather(arrays: tuple[NDArray[Any], ...], levels: list[tuple[int, int]], width: int) -> NDArray[Any] | None:
    """Returns the outputs of `width` channels, one a level and in the levels' order, as rows (cells, width).

    An output that holds all levels counts too. None where a level is missing.
    """
    import numpy as np

    count = sum(map(math.prod, levels))
    whole = [array for array in arrays if channels(array.shape, count) == width]
    if whole:
        return as_rows(whole[0], count)
    found: list[NDArray[Any]] = []
    for cells in levels:
        level = [array for array in arrays if channels(array.shape, cells) == width]
        if not level:
            return None
        found.append(as_rows(level[0], cells))
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

    chances: NDArray[np.float64] = expit(logits)
    return chances


def joined(arrays: tuple[NDArray[Any], ...], cells: Cells) -> NDArray[Any]:
    """Returns all outputs that say something of these cells, beside each other: (cells, channels), maybe none."""
    import numpy as np

    found = [as_rows(array, cells) for array in arrays if channels(array.shape, cells) is not None]
    count = math.prod(cells) if isinstance(cells, tuple) else cells
    return np.concatenate([np.empty((count, 0)), *found], axis=1)


def joined_width(shapes: Shapes, cells: Cells) -> int:
    """Returns the channels of all outputs that say something of these cells."""
    return sum(channels(shape, cells) or 0 for shape in shapes)


def by_level(arrays: tuple[NDArray[Any], ...], levels: list[tuple[int, int]]) -> NDArray[Any]:
    """Returns the outputs of each level beside each other, the levels below each other: (cells, channels)."""
    import numpy as np

    return np.concatenate([joined(arrays, cells) for cells in levels])


def level_width(shapes: Shapes, levels: list[tuple[int, int]]) -> int:
    """Returns the channels that every level has, 0 where they differ or a level has none."""
    widths = {joined_width(shapes, cells) for cells in levels}
    return widths.pop() if len(widths) == 1 else 0
