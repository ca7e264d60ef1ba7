"""The anchor head of RetinaNet: logits (anchors, classes) and offsets (anchors, 4) on five levels.

Nine anchors a cell: sizes 4, 5.04, 6.35 strides by ratios 0.5, 1, 2, rounded to pixels, at the cell's corner.
cx = cx_a + t w_a, w = w_a exp(t). Source: Lin et al. 2017; torchvision, models/detection/retinanet.py, anchor_utils.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from edgekit.heads import grids
from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class RetinaNet(Decoder):
    """RetinaNet.

    Attributes:
        strides: Pixels of a cell, level by level.
        sizes: Sides of an anchor in strides, whole for torchvision: `32`, `int(32 x 2^(1/3))`, ... over the stride.
        ratios: Height over width of an anchor.
        logits: Scores are logits, not probabilities.
        rows_first: Offsets are y, x, height, width, as TensorFlow's detectors have them; else x, y, width, height.
    """

    title: ClassVar[str] = "RetinaNet"

    iou: float = 0.5
    strides: str = "8,16,32,64,128"
    sizes: str = "1,1.2599210498948732,1.5874010519681994"
    ratios: str = "0.5,1,2"
    logits: bool = True
    rows_first: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs scores and offsets of all anchors."""
        count = len(self.anchors(size))
        widths = sorted(grids.channels(shape, count) or 0 for shape in shapes)
        if len(widths) != 2 or widths[0] == 0 or 4 not in widths:
            return f"they have the shapes {', '.join(map(str, shapes))}; expected ({count}, classes) and ({count}, 4)"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the box of every anchor."""
        import numpy as np

        anchors = self.anchors(size)
        place = max(i for i, array in enumerate(outputs) if grids.channels(array.shape, len(anchors)) == 4)
        offsets, scores = (grids.as_rows(outputs[i], len(anchors)) for i in (place, 1 - place))
        if self.rows_first:
            offsets = offsets[:, [1, 0, 3, 2]]
        sides = anchors[:, 2:] - anchors[:, :2]
        centre = anchors[:, :2] + sides / 2 + offsets[:, :2] * sides
        large = sides * np.exp(np.minimum(offsets[:, 2:], math.log(1000 / 16)))
        boxes = np.clip(grids.corners(centre, large), 0, [size[1], size[0]] * 2)
        return Predictions(boxes=boxes, scores=grids.sigmoid(scores) if self.logits else scores)

    def anchors(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Returns x1, y1, x2, y2 of every anchor, cell by cell (anchors, 4)."""
        import numpy as np

        ratios = np.sqrt(np.asarray(grids.numbers(self.ratios, "ratios")))[:, None]
        made: list[NDArray[np.float64]] = []
        for stride in grids.numbers(self.strides, "strides"):
            # torchvision's sizes are whole pixels.
            sides = np.floor(4 * stride * np.asarray(grids.numbers(self.sizes, "sizes")) + 1e-9)
            width, height = (sides / ratios).reshape(-1), (sides * ratios).reshape(-1)
            around = np.round(np.stack([-width, -height, width, height], 1) / 2)
            cells = np.tile(grids.centres(size, (stride,), 0.0)[0] * stride, 2)
            made.append((cells[:, None] + around).reshape(-1, 4))
        return np.concatenate(made)
