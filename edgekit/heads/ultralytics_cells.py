"""What the heads of ultralytics share: a box, a probability a class, and masks or keypoints for every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from edgekit.heads import grids
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.decoder import Arrays, Shapes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """How such a head is laid out.

    Attributes:
        strides: Pixels of a cell, level by level.
        classes: Number of classes; 0 takes what the outputs have.
        keypoints: Points of a pose.
        bins: Bins of a distance in raw maps.
        normalized: Boxes are shares of the input's sides and not pixels.
    """

    strides: tuple[float, ...]
    classes: int
    keypoints: int
    bins: int
    normalized: bool

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Returns why outputs of these shapes are none of such a head."""
        levels, count = grids.levels(size, self.strides), grids.cells(size, self.strides)
        masks = sum(shape[0] for shape in self._prototypes(shapes, levels))
        more = masks + 3 * self.keypoints
        if whole := grids.joined_width(shapes, count):
            found, wanted = whole - 4 - more, f"(4 + classes{f' + {more}' if more else ''}, {count})"
        else:
            found = grids.level_width(shapes, levels) - 4 * self.bins
            counts = [rows * columns for rows, columns in levels]
            wanted = f"(4 + classes, {count}), or {4 * self.bins} + classes channels of {counts} cells"
        if found < 1 or (self.classes and found != self.classes):
            classes = f" with {self.classes} classes" if self.classes else ""
            return f"they have the shapes {', '.join(map(str, shapes))}; expected {wanted}{classes}"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all cells."""
        levels, count = grids.levels(size, self.strides), grids.cells(size, self.strides)
        rows = grids.joined(outputs, count)
        if not rows.shape[1]:
            return self._from_maps(grids.by_level(outputs, levels), size)
        prototypes = [
            array.reshape(grids.without_ones(array.shape, 3))
            for array in outputs
            if self._prototypes((array.shape,), levels)
        ]
        masks = prototypes[0].shape[0] if prototypes else 0
        more = masks + 3 * self.keypoints
        boxes = grids.corners(rows[:, :2], rows[:, 2:4]) * self._scale(size)
        points = rows[:, rows.shape[1] - 3 * self.keypoints :].reshape(len(rows), self.keypoints, 3).copy()
        points[:, :, :2] *= self._scale(size)[:2]
        return Predictions(
            boxes=boxes,
            scores=rows[:, 4 : rows.shape[1] - more],
            keypoints=points if self.keypoints else None,
            coefficients=rows[:, rows.shape[1] - masks :] if masks else None,
            prototypes=prototypes[0] if masks else None,
        )

    def _from_maps(self, rows: NDArray[np.float64], size: tuple[int, int]) -> Predictions:
        distances = rows[:, : 4 * self.bins]
        if self.bins > 1:
            distances = grids.expectation(distances)
        points, strides = grids.centres(size, self.strides)
        return Predictions(
            boxes=grids.around(points, distances) * strides, scores=grids.sigmoid(rows[:, 4 * self.bins :])
        )

    @staticmethod
    def _prototypes(shapes: Shapes, levels: list[tuple[int, int]]) -> list[tuple[int, ...]]:
        """Returns the shapes (prototypes, h, w) among the outputs: maps that belong to no level."""
        found = [grids.without_ones(shape, 3) for shape in shapes]
        cells: tuple[grids.Cells, ...] = (sum(rows * columns for rows, columns in levels), *levels)
        return [shape for shape in found if len(shape) == 3 and all(grids.channels(shape, n) is None for n in cells)]

    def _scale(self, size: tuple[int, int]) -> NDArray[Any]:
        import numpy as np

        return np.asarray([size[1], size[0]] * 2 if self.normalized else [1, 1, 1, 1], np.float64)
