"""The head of CenterNet: a heatmap a class (classes, h, w), sizes (2, h, w) and offsets (2, h, w).

A peak is a cell that no neighbour exceeds: box centre = cell + offset, sides = size, in cells. It needs no suppression.
Source: Zhou, Wang and Kraehenbuehl 2019, section 4 (ctdet_decode).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.heads import grids
from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class CenterNet(Decoder):
    """CenterNet.

    Attributes:
        stride: Pixels of a cell.
        logits: The heatmap holds logits, not probabilities.
    """

    title: ClassVar[str] = "CenterNet"
    suppresses: ClassVar[bool] = False

    most: int = 100
    stride: float = 4.0
    logits: bool = True

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs a heatmap, sizes and offsets, in this order."""
        grid = grids.levels(size, (self.stride,))[0]
        widths = [grids.channels(shape, grid) for shape in shapes]
        if len(widths) != 3 or None in widths or widths[1:] != [2, 2]:
            listed = ", ".join(map(str, shapes))
            cells = f"{grid[0]}, {grid[1]}"
            return f"they have the shapes {listed}; expected (classes, {cells}), then twice (2, {cells})"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the box of every cell, with the scores of peaks only."""
        import numpy as np

        rows, columns = grids.levels(size, (self.stride,))[0]
        heat, sides, offset = (grids.as_rows(array, (rows, columns)) for array in outputs)
        scores = grids.sigmoid(heat) if self.logits else heat
        peaks = _highest_near(scores.reshape(rows, columns, -1)).reshape(scores.shape)
        cells = grids.centres(size, (self.stride,), 0.0)[0]
        boxes = grids.corners(cells + offset, sides) * self.stride
        return Predictions(boxes=boxes, scores=np.where(scores == peaks, scores, -1.0))


def _highest_near(scores: NDArray[Any]) -> NDArray[Any]:
    """Returns the highest score among each cell's 3 x 3 neighbours (h, w, classes)."""
    import numpy as np

    padded = np.pad(scores, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.asarray(windows.max(axis=(-2, -1)))
