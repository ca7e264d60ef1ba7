"""What the heads of Generalized Focal Loss share (GFL, NanoDet, PicoDet): scores and binned distances, level by level.

distance = softmax expectation over bins, box = (centre -+ distance) x stride. Source: Li et al. 2020, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.heads import grids
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    from edgekit.heads.decoder import Arrays, Shapes


def why_not_focal(shapes: Shapes, size: tuple[int, int], strides: tuple[float, ...], bins: int) -> str | None:
    """Returns why outputs of these shapes are no such head: 4 x bins and a score a class for every cell."""
    levels, count = grids.levels(size, strides), grids.cells(size, strides)
    width = grids.joined_width(shapes, count) or grids.level_width(shapes, levels)
    if width <= 4 * bins:
        return (
            f"they have the shapes {', '.join(map(str, shapes))}; expected scores and {4 * bins} distances of "
            f"{[rows * columns for rows, columns in levels]} cells"
        )
    return None


def predict_focal(
    outputs: Arrays, size: tuple[int, int], strides: tuple[float, ...], bins: int, offset: float, *, logits: bool
) -> Predictions:
    """Returns the boxes of all cells; the output of 4 x bins channels holds the distances, wherever it stands."""
    import numpy as np

    levels, count = grids.levels(size, strides), grids.cells(size, strides)
    distances = grids.gather(outputs, levels, 4 * bins)
    if distances is None:
        rows = grids.joined(outputs, count)
        rows = rows if rows.shape[1] else grids.by_level(outputs, levels)
        scores, distances = rows[:, : -4 * bins], rows[:, -4 * bins :]
    else:
        every: tuple[grids.Cells, ...] = (*levels, count)
        rest = tuple(
            array for array in outputs if all(grids.channels(array.shape, cells) != 4 * bins for cells in every)
        )
        scores = grids.joined(rest, count)
        scores = scores if scores.shape[1] else grids.by_level(rest, levels)
    points, stride = grids.centres(size, strides, offset)
    boxes = grids.around(points, grids.expectation(np.asarray(distances))) * stride
    return Predictions(boxes=boxes, scores=grids.sigmoid(scores) if logits else scores)
