"""The contract of a decoder: a head's outputs for one picture in, boxes in pixels of the model's input out.

A decoder is one file and one frozen dataclass; its fields are its settings, which the task file's `[head]` names. It
needs NumPy only. A third party brings one by the entry point group `edgekit.decoders`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import DataError
from edgekit.heads.predictions import Detections, Predictions
from edgekit.heads.suppression import suppress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays = tuple["NDArray[Any]", ...]
"""One array an output, without the batch."""

Shapes = tuple[tuple[int, ...], ...]
"""One shape an output, without the batch."""


@dataclass(frozen=True, kw_only=True)
class Decoder(ABC):
    """Decodes a head.

    Attributes:
        score: Boxes below this score do not count.
        iou: Overlap above which a box of the same class with a lower score goes.
        most: How many boxes of a picture are kept.

    Class attributes:
        title: What it is called in a table.
        suppresses: False for a head that proposes each thing once.
    """

    title: ClassVar[str]
    suppresses: ClassVar[bool] = True

    score: float = 0.001
    iou: float = 0.7
    most: int = 300

    @abstractmethod
    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Returns why outputs of these shapes are none of this head's, None where they can be.

        Args:
            shapes: One shape an output, without the batch.
            size: Height and width of the model's input.
        """

    @abstractmethod
    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns every box that the outputs of one picture propose; `why_not` had nothing against their shapes."""

    @final
    def decode(self, outputs: Arrays, size: tuple[int, int]) -> Detections:
        """Returns what the head decides about one picture.

        Args:
            outputs: One array an output, without the batch.
            size: Height and width of the model's input.

        Raises:
            DataError: the outputs have other shapes than this head's.
        """
        import numpy as np

        shapes = tuple(array.shape for array in outputs)
        if reason := self.why_not(shapes, size):
            raise DataError(
                f"The outputs are no head of {self.title}: {reason}. Correct [head] in the task file; the decoders and "
                "their settings: docs/guides/tasks.md."
            )
        found = self.predict(tuple(np.asarray(array, np.float64) for array in outputs), size)
        places, classes = np.nonzero(found.scores >= self.score)
        scores = found.scores[places, classes]
        if self.suppresses:
            kept = suppress(found.boxes[places], scores, classes, self.iou, self.most)
        else:
            kept = np.argsort(-scores, kind="stable")[: self.most]
        chosen = places[kept]
        return Detections(
            boxes=found.boxes[chosen],
            scores=scores[kept],
            classes=classes[kept],
            keypoints=None if found.keypoints is None else found.keypoints[chosen],
            masks=_masks(found, chosen, size),
        )


def _masks(found: Predictions, chosen: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Returns the masks (n, H, W): prototypes weighed, cut to the box, enlarged to the input, positive where inside."""
    import numpy as np

    if found.coefficients is None or found.prototypes is None:
        return None
    count, height, width = found.prototypes.shape
    small = (found.coefficients[chosen] @ found.prototypes.reshape(count, -1)).reshape(-1, height, width)
    rows, columns = _bilinear(height, size[0]), _bilinear(width, size[1])
    masks = np.zeros((len(chosen), *size), np.bool_)
    y, x = np.arange(size[0])[:, None], np.arange(size[1])
    for i, (logits, box) in enumerate(zip(small, found.boxes[chosen], strict=True)):
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        masks[i] = (rows @ logits @ columns.T > 0) & inside
    return masks


def _bilinear(small: int, large: int) -> NDArray[np.float64]:
    """Returns the matrix (large, small) of bilinear interpolation between pixel centres."""
    import numpy as np

    place = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.minimum(place.astype(np.int64), max(small - 2, 0))
    matrix = np.zeros((large, small))
    matrix[np.arange(large), low] = 1 - (place - low)
    matrix[np.arange(large), np.minimum(low + 1, small - 1)] += place - low
    return matrix
