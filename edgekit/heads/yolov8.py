"""The heads of YOLOv8, v9, v10's one-to-many, 11 and 12 (ultralytics), for boxes, masks and keypoints.

As exported, each cell has x, y, w, h in pixels, then a probability a class, then coefficients of masks or keypoints:
(4 + classes + more, cells), or its parts as outputs of their own. As raw maps, a level has 4 x bins logits of distances
and a logit a class: distance = softmax expectation, box = (centre -+ distance) x stride.
Source: ultralytics, nn/modules/head.py (Detect) and utils/tal.py (dist2bbox, make_anchors); Li et al. 2020 (DFL).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.grids import numbers
from edgekit.heads.predictions import Predictions
from edgekit.heads.ultralytics_cells import Cells


@final
@dataclass(frozen=True, kw_only=True)
class YoloV8(Decoder):
    """YOLOv8 and 11.

    Attributes:
        strides: Pixels of a cell, level by level.
        classes: Number of classes; 0 takes what the outputs have.
        keypoints: Points of a pose.
        bins: Bins of a distance in raw maps.
        normalized: Boxes are shares of the input's sides (ultralytics' TFLite), not pixels.
    """

    title: ClassVar[str] = "YOLOv8 and 11"

    strides: str = "8,16,32"
    classes: int = 0
    keypoints: int = 0
    bins: int = 16
    normalized: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (4 + classes, cells), or 4 x bins + classes channels a level."""
        return self._cells().why_not(shapes, size)

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all cells."""
        return self._cells().predict(outputs, size)

    def _cells(self) -> Cells:
        return Cells(
            strides=numbers(self.strides, "strides"),
            classes=self.classes,
            keypoints=self.keypoints,
            bins=self.bins,
            normalized=self.normalized,
        )
