"""The heads of DETR and its like: logits (queries, classes) and cx, cy, w, h (queries, 4) as shares of the input.

`softmax` (DETR, YOLOS) has a last class that is none, and one class a query; `sigmoid` (Deformable DETR, RT-DETR) takes
the highest pairs of query and class. Source: Carion et al. 2020; transformers, models/detr and models/rt_detr
(post_process_object_detection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import DataError
from edgekit.heads import grids
from edgekit.heads.decoder import Arrays, Decoder, Shapes
from edgekit.heads.predictions import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, kw_only=True)
class Detr(Decoder):
    """DETR.

    Attributes:
        scores: How logits become scores: softmax or sigmoid.
    """

    title: ClassVar[str] = "DETR"
    suppresses: ClassVar[bool] = False

    scores: str = "softmax"

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs (queries, classes) and (queries, 4)."""
        del size
        if self.scores not in ("softmax", "sigmoid"):
            raise DataError(f'[head] scores is "{self.scores}"; accepted are softmax and sigmoid.')
        found = [grids.without_ones(shape, 2) for shape in shapes]
        boxes = [shape for shape in found if shape[1:] == (4,)]
        if len(found) != 2 or not boxes or any(len(shape) != 2 or shape[0] != boxes[0][0] for shape in found):
            return f"they have the shapes {', '.join(map(str, shapes))}; expected (queries, classes) and (queries, 4)"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the box of every query."""
        import numpy as np

        rows = [array.reshape(grids.without_ones(array.shape, 2)) for array in outputs]
        place = max(i for i, array in enumerate(rows) if array.shape[1] == 4)
        boxes = grids.corners(rows[place][:, :2], rows[place][:, 2:]) * ([size[1], size[0]] * 2)
        logits: NDArray[Any] = rows[1 - place]
        if self.scores == "sigmoid":
            return Predictions(boxes=boxes, scores=grids.sigmoid(logits))
        chances = grids.softmax(logits)[:, :-1]
        best = chances.argmax(1)[:, None] == np.arange(chances.shape[1])
        return Predictions(boxes=boxes, scores=np.where(best, chances, -1.0))
