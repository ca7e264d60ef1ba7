"""The head of PicoDet: probabilities and 8 bins a distance on four levels, cells' centres in their middle.

Source: PaddleDetection, ppdet/modeling/heads/pico_head.py (post_process); Yu et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.general_focal import predict_focal, why_not_focal
from edgekit.heads.grids import numbers
from edgekit.heads.predictions import Predictions


@final
@dataclass(frozen=True, kw_only=True)
class PicoDet(Decoder):
    """PicoDet.

    Attributes:
        strides: Pixels of a cell, level by level.
        bins: Bins of a distance.
        offset: Where in its cell the centre lies, in cells.
        logits: Scores are logits, not probabilities.
    """

    title: ClassVar[str] = "PicoDet"

    iou: float = 0.6
    strides: str = "8,16,32,64"
    bins: int = 8
    offset: float = 0.5
    logits: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs scores and 4 x bins distances of all cells."""
        return why_not_focal(shapes, size, numbers(self.strides, "strides"), self.bins)

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all cells."""
        strides = numbers(self.strides, "strides")
        return predict_focal(outputs, size, strides, self.bins, self.offset, logits=self.logits)
