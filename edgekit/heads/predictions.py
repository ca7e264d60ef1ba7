"""What a head says about one picture: before its decisions are taken, and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Every box that a head proposes for one picture.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the model's input.
        scores: (n, classes), 0 to 1.
        keypoints: (n, points, 3) x, y, score; None for a head without.
        coefficients: (n, prototypes) of the masks; None for a head without.
        prototypes: (prototypes, h, w) of the masks; None for a head without.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    keypoints: NDArray[np.float64] | None = None
    coefficients: NDArray[np.float64] | None = None
    prototypes: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What was decided about one picture, highest score first.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the model's input.
        scores: (n,).
        classes: (n,).
        keypoints: (n, points, 3) x, y, score; None for a head without.
        masks: (n, H, W) in pixels of the model's input; None for a head without.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    keypoints: NDArray[np.float64] | None = None
    masks: NDArray[np.bool_] | None = None

    def above(self, score: float) -> Detections:
        """Returns those that score at least as high."""
        kept = self.scores >= score
        return Detections(
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            classes=self.classes[kept],
            keypoints=None if self.keypoints is None else self.keypoints[kept],
            masks=None if self.masks is None else self.masks[kept],
        )
