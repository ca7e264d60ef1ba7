"""The anchor head of YOLOv5 and v7: x, y, w, h, objectness and classes for three anchors a cell.

As exported, (anchors x cells, 5 + classes) with pixels and probabilities. As raw maps, 3 x (5 + classes) channels a
level: xy = (2 s(t) - 0.5 + cell) x stride, wh = (2 s(t))^2 x anchor, s the sigmoid; score = objectness x class.
Source: yolov5, models/yolo.py (Detect.forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.heads import grids
from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class YoloV5(Decoder):
    """YOLOv5.

    Attributes:
        strides: Pixels of a cell, level by level.
        anchors: Widths and heights in pixels, levels separated by semicolons.
        classes: Number of classes; 0 takes what the outputs have.
        normalized: Boxes are shares of the input's sides, not pixels.
    """

    title: ClassVar[str] = "YOLOv5"

    strides: str = "8,16,32"
    anchors: str = "10,13,16,30,33,23;30,61,62,45,59,119;116,90,156,198,373,326"
    classes: int = 0
    normalized: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (anchors x cells, 5 + classes), or a map of anchors x (5 + classes) channels a level."""
        each, levels = self._anchors().shape[1], self._levels(size)
        count = sum(rows * columns for rows, columns in levels)
        width = grids.joined_width(shapes, each * count)
        if not width:
            maps = {_channels(shape, cells, each) for cells in levels for shape in shapes} - {None}
            width = maps.pop() or 0 if len(maps) == 1 else 0
        if width < 6 or (self.classes and width != 5 + self.classes):
            classes = f" with {self.classes} classes" if self.classes else ""
            return (
                f"they have the shapes {', '.join(map(str, shapes))}; expected ({each * count}, 5 + classes), or "
                f"{each} x (5 + classes) channels of {[rows * columns for rows, columns in levels]} "
                f"cells{classes}"
            )
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the boxes of all anchors."""
        import numpy as np

        strides, each = grids.numbers(self.strides, "strides"), self._anchors().shape[1]
        rows = grids.joined(outputs, each * grids.cells(size, strides))
        if not rows.shape[1]:
            return self._from_maps(outputs, size)
        side = np.asarray([size[1], size[0]] * 2 if self.normalized else [1] * 4, np.float64)
        boxes = grids.corners(rows[:, :2], rows[:, 2:4]) * side
        return Predictions(boxes=boxes, scores=rows[:, 4:5] * rows[:, 5:])

    def _from_maps(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        import numpy as np

        boxes: list[NDArray[np.float64]] = []
        scores: list[NDArray[np.float64]] = []
        strides, anchors = grids.numbers(self.strides, "strides"), self._anchors()
        for stride, own, shape in zip(strides, anchors, self._levels(size), strict=True):
            level = next(array for array in outputs if _channels(array.shape, shape, len(own)) is not None)
            values = grids.sigmoid(_by_anchor(level, shape, len(own)))
            cells = grids.centres(size, (stride,), -0.5)[0]
            centre = (2 * values[..., :2] + cells) * stride
            sides = (2 * values[..., 2:4]) ** 2 * own[:, None]
            boxes.append(grids.corners(centre.reshape(-1, 2), sides.reshape(-1, 2)))
            scores.append((values[..., 4:5] * values[..., 5:]).reshape(-1, values.shape[-1] - 5))
        return Predictions(boxes=np.concatenate(boxes), scores=np.concatenate(scores))

    def _anchors(self) -> NDArray[np.float64]:
        """Returns the anchors (levels, anchors, 2)."""
        import numpy as np

        return np.asarray([grids.numbers(level, "anchors") for level in self.anchors.split(";")]).reshape(
            len(grids.numbers(self.strides, "strides")), -1, 2
        )

    def _levels(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        return grids.levels(size, grids.numbers(self.strides, "strides"))


def _channels(shape: tuple[int, ...], cells: tuple[int, int], anchors: int) -> int | None:
    """Returns 5 + classes of a level's map (anchors x C, h, w) or (anchors, h, w, C); None where it is not that."""
    shape = grids.without_ones(shape, 4)
    if len(shape) == 4:
        return shape[3] if shape[0] == anchors and shape[1:3] == cells else None
    width = grids.channels(shape, cells)
    return width // anchors if width and width % anchors == 0 else None


def _by_anchor(level: NDArray[Any], cells: tuple[int, int], anchors: int) -> NDArray[Any]:
    """Returns a level's map as (anchors, cells, C)."""
    shape = grids.without_ones(level.shape, 4)
    if len(shape) == 4:
        return level.reshape(anchors, -1, shape[3])
    return grids.as_rows(level, cells).reshape(cells[0] * cells[1], anchors, -1).transpose(1, 0, 2)
