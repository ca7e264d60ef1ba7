"""The head of YOLOX: x, y, w, h, objectness and classes for every cell, (cells, 5 + classes).

xy = (t + cell) x stride, wh = exp(t) x stride; objectness and classes are probabilities already; score = their product.
Source: YOLOX, yolox/models/yolo_head.py (decode_outputs); Ge et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgekit.heads import grids
from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.predictions import Predictions


@final
@dataclass(frozen=True, kw_only=True)
class YoloX(Decoder):
    """YOLOX.

    Attributes:
        strides: Pixels of a cell, level by level.
        classes: Number of classes; 0 takes what the outputs have.
        decoded: The model decodes its boxes itself, x, y, w, h in pixels (decode_in_inference).
    """

    title: ClassVar[str] = "YOLOX"

    strides: str = "8,16,32"
    classes: int = 0
    decoded: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (cells, 5 + classes)."""
        count = grids.cells(size, grids.numbers(self.strides, "strides"))
        width = grids.joined_width(shapes, count)
        if width < 6 or (self.classes and width != 5 + self.classes):
            classes = f" with {self.classes} classes" if self.classes else ""
            return f"they have the shapes {', '.join(map(str, shapes))}; expected ({count}, 5 + classes){classes}"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all cells."""
        import numpy as np

        strides = grids.numbers(self.strides, "strides")
        cells, stride = grids.centres(size, strides, 0.0)
        rows = grids.joined(outputs, len(cells))
        centre, side = rows[:, :2], rows[:, 2:4]
        if not self.decoded:
            centre, side = (centre + cells) * stride, np.exp(side) * stride
        return Predictions(boxes=grids.corners(centre, side), scores=rows[:, 4:5] * rows[:, 5:])
