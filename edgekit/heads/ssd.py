"""The head of SSD with default boxes: offsets (boxes, 4) and logits (boxes, 1 + classes), the background first.

cx = cx_d + 0.1 t w_d, w = w_d exp(0.2 t). Default boxes of cell (i, j) on a grid of g: centre ((j, i) + 0.5) / g; one
square of scale s, one of sqrt(s s'), and s sqrt(r) x s / sqrt(r) both ways for each ratio r.
Source: Liu et al. 2016, section 2.2; torchvision, models/detection/anchor_utils.py (DefaultBoxGenerator).
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
class Ssd(Decoder):
    """SSD.

    Attributes:
        levels: Cells a side of each level; the defaults are SSDLite320's.
        ratios: Ratios of the sides beside the squares, one list for all levels, or one a level with semicolons.
        scales: Scales, one a level and one more; without them they go evenly from `smallest` to `largest`, then 1.
        smallest: Scale of the first level.
        largest: Scale of the last level.
        steps: Pixels from cell to cell, one a level; without them the grid fills the input.
        clip: Default boxes are cut at the input's edge.
        background: Class that is none, 0 or -1 for the last; its column goes.
        logits: Scores are logits; else probabilities.
        softmax: Classes exclude each other; else each has a sigmoid.
    """

    title: ClassVar[str] = "SSD"

    iou: float = 0.55
    levels: str = "20,10,5,3,2,1"
    ratios: str = "2,3"
    scales: str = ""
    smallest: float = 0.2
    largest: float = 0.95
    steps: str = ""
    clip: bool = True
    background: int = 0
    logits: bool = True
    softmax: bool = True

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (boxes, 4) and (boxes, 1 + classes)."""
        count = len(self.default_boxes(size))
        widths = sorted(grids.channels(shape, count) or 0 for shape in shapes)
        if len(widths) != 2 or widths[0] == 0 or 4 not in widths:
            listed = ", ".join(map(str, shapes))
            return f"they have the shapes {listed}; expected ({count}, 4) and ({count}, 1 + classes)"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all default boxes."""
        import numpy as np

        default = self.default_boxes(size)
        widths = [grids.channels(array.shape, len(default)) for array in outputs]
        place = widths.index(4)
        offsets, scores = (grids.as_rows(outputs[i], len(default)) for i in (place, 1 - place))
        centre = default[:, :2] + 0.1 * offsets[:, :2] * default[:, 2:]
        sides = default[:, 2:] * np.exp(np.minimum(0.2 * offsets[:, 2:], math.log(1000 / 16)))
        if self.logits:
            scores = grids.softmax(scores) if self.softmax else grids.sigmoid(scores)
        return Predictions(
            boxes=np.clip(grids.corners(centre, sides) * ([size[1], size[0]] * 2), 0, [size[1], size[0]] * 2),
            scores=np.delete(scores, self.background, axis=1),
        )

    def default_boxes(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Returns cx, cy, w, h of every default box as shares of the input, (boxes, 4)."""
        import numpy as np

        sides = [int(number) for number in grids.numbers(self.levels, "levels")]
        lists = self.ratios.split(";") if ";" in self.ratios else [self.ratios] * len(sides)
        steps = grids.numbers(self.steps, "steps") if self.steps else None
        scales = self._scales(len(sides))
        made: list[NDArray[np.float64]] = []
        for i, (side, ratios) in enumerate(zip(sides, lists, strict=True)):
            own, between = scales[i], math.sqrt(scales[i] * scales[i + 1])
            shapes = [(own, own), (between, between)]
            for ratio in map(math.sqrt, grids.numbers(ratios, "ratios")):
                shapes += [(own * ratio, own / ratio), (own / ratio, own * ratio)]
            cells = grids.centres((side, side), (1.0,))[0]
            centre = cells / side if steps is None else cells * steps[i] / np.asarray([size[1], size[0]])
            pairs = np.broadcast_to(np.asarray(shapes), (len(cells), len(shapes), 2))
            made.append(np.concatenate([np.broadcast_to(centre[:, None], pairs.shape), pairs], 2).reshape(-1, 4))
        boxes = np.concatenate(made)
        return np.concatenate([boxes[:, :2], np.clip(boxes[:, 2:], 0, 1)], 1) if self.clip else boxes

    def _scales(self, count: int) -> tuple[float, ...]:
        if self.scales:
            return grids.numbers(self.scales, "scales")
        step = (self.largest - self.smallest) / max(1, count - 1)
        return (*(self.smallest + i * step for i in range(count)), 1.0)
