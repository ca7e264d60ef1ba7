"""The head of YOLO26 and of v10's one-to-one branch: (300, 6) boxes x1, y1, x2, y2, score, class; no suppression.

A pose has x, y, score of each point behind them. Its raw maps have distances without bins, otherwise as YOLOv8's.
Source: ultralytics, nn/modules/head.py (Detect.postprocess, reg_max = 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.grids import numbers, without_ones
from edgekit.heads.predictions import Predictions
from edgekit.heads.ultralytics_cells import Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class Yolo26(Decoder):
    """YOLO26.

    Attributes:
        strides: Pixels of a cell, level by level, for raw maps.
        classes: Number of classes; 0 takes what the outputs have.
        keypoints: Points of a pose.
        normalized: Boxes are shares of the input's sides, not pixels.
    """

    title: ClassVar[str] = "YOLO26"
    suppresses: ClassVar[bool] = False

    strides: str = "8,16,32"
    classes: int = 0
    keypoints: int = 0
    normalized: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (boxes, 6), or 4 + classes channels a level."""
        if self._finished(shapes):
            return None
        if reason := self._cells().why_not(shapes, size):
            return f"{reason}, or (boxes, {6 + 3 * self.keypoints})"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the finished boxes, or those of all cells."""
        import numpy as np

        if not self._finished(tuple(array.shape for array in outputs)):
            return self._cells().predict(outputs, size)
        rows = outputs[0].reshape(without_ones(outputs[0].shape, 2))
        side = np.asarray([size[1], size[0]] if self.normalized else [1, 1], np.float64)
        scores = one_hot(rows[:, 4], rows[:, 5])
        points = rows[:, 6:].reshape(len(rows), self.keypoints, 3) * [*side, 1] if self.keypoints else None
        return Predictions(boxes=rows[:, :4] * np.tile(side, 2), scores=scores, keypoints=points)

    def _finished(self, shapes: Shapes) -> bool:
        shape = without_ones(shapes[0], 2)
        return len(shapes) == 1 and len(shape) == 2 and shape[1] == 6 + 3 * self.keypoints

    def _cells(self) -> Cells:
        return Cells(
            strides=numbers(self.strides, "strides"),
            classes=self.classes,
            keypoints=self.keypoints,
            bins=1,
            normalized=self.normalized,
        )


def one_hot(scores: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Returns scores (n, classes) of boxes with one class each, (n,) and (n,); -1 elsewhere, which no limit lets in."""
    import numpy as np

    numbers = np.rint(classes).astype(np.int64)
    table = np.full((len(scores), max(1, int(numbers.max(initial=0)) + 1)), -1.0)
    table[np.arange(len(scores)), np.maximum(numbers, 0)] = scores
    return table
