"""The head of FCOS: logits of classes, distances left, top, right, bottom, and a logit of centerness for every cell.

score = sqrt(s(class) s(centerness)), box = point -+ distances. Source: Tian et al. 2019 (points in the cells' middle);
torchvision, models/detection/fcos.py (offset 0, distances in strides, made positive by the model).
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
class Fcos(Decoder):
    """FCOS.

    Attributes:
        strides: Pixels of a cell, level by level.
        offset: Where in its cell the point lies, in cells; torchvision's is 0.
        in_strides: Distances count strides; else pixels.
    """

    title: ClassVar[str] = "FCOS"

    iou: float = 0.6
    strides: str = "8,16,32,64,128"
    offset: float = 0.5
    in_strides: bool = True

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs scores, four distances and centerness of all cells."""
        levels = grids.levels(size, grids.numbers(self.strides, "strides"))
        counts = [rows * columns for rows, columns in levels]
        forms: tuple[list[grids.Cells], ...] = ([sum(counts)], [*levels])
        for form in forms:
            widths = [[width for shape in shapes if (width := grids.channels(shape, cells))] for cells in form]
            if all(len(level) == 3 and 1 in level and 4 in level for level in widths):
                return None
        return (
            f"they have the shapes {', '.join(map(str, shapes))}; expected (cells, classes), (cells, 4) and (cells, 1) "
            f"for {sum(counts)} cells, together or level by level {counts}"
        )

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the box of every cell."""
        import numpy as np

        strides = grids.numbers(self.strides, "strides")
        count = grids.cells(size, strides)
        whole = grids.joined_width(tuple(array.shape for array in outputs), count)
        levels: list[grids.Cells] = [count] if whole else [*grids.levels(size, strides)]
        classes: list[NDArray[Any]] = []
        distances: list[NDArray[Any]] = []
        centerness: list[NDArray[Any]] = []
        for cells in levels:
            rows = [grids.as_rows(array, cells) for array in outputs if grids.channels(array.shape, cells) is not None]
            # Classes come first in every known export, whatever their number.
            classes.append(rows[0])
            distances.append(next(row for row in rows[1:] if row.shape[1] == 4))
            centerness.append(next(row for row in rows[1:] if row.shape[1] == 1))
        points, stride = grids.centres(size, strides, self.offset)
        far = np.concatenate(distances) * (stride if self.in_strides else 1)
        scores = np.sqrt(grids.sigmoid(np.concatenate(classes)) * grids.sigmoid(np.concatenate(centerness)))
        return Predictions(boxes=np.clip(grids.around(points * stride, far), 0, [size[1], size[0]] * 2), scores=scores)
