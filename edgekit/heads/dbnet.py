"""The head of DBNet: a map of text probabilities (1, H, W); each connected region above the limit is a box.

A region is enlarged by area x ratio / perimeter on every side, which undoes the shrinking of training; its score is its
mean probability. Boxes are upright. Source: Liao et al. 2020, section 3.6.
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
class DbNet(Decoder):
    """DBNet.

    Attributes:
        threshold: Probability above which a pixel is text.
        unclip: How far regions are enlarged.
        smallest: Shorter side in pixels of the map below which a region goes.
    """

    title: ClassVar[str] = "DBNet"
    suppresses: ClassVar[bool] = False

    score: float = 0.6
    most: int = 1000
    threshold: float = 0.3
    unclip: float = 1.5
    smallest: int = 3

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs one map of the input's proportions."""
        maps = [self._map(shape) for shape in shapes]
        if len(maps) != 1 or maps[0] is None or maps[0][0] * size[1] != maps[0][1] * size[0]:
            listed = ", ".join(map(str, shapes))
            return f"they have the shapes {listed}; expected one map (1, H, W) of the input's proportions"
        return None

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns the box of every region."""
        import numpy as np
        from scipy import ndimage

        chances = outputs[0].reshape(self._map(outputs[0].shape) or outputs[0].shape)
        labelled: Any = ndimage.label(chances > self.threshold, structure=np.ones((3, 3)))
        labels, count = labelled
        found = ndimage.find_objects(labels)
        boxes = np.asarray([(x.start, y.start, x.stop, y.stop) for y, x in found], np.float64).reshape(-1, 4)
        scores = np.asarray(ndimage.mean(chances, labels, np.arange(1, count + 1)), np.float64).reshape(-1)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = sides.min(1, initial=np.inf) >= self.smallest
        boxes, scores, sides = boxes[kept], scores[kept], sides[kept]
        far = (sides.prod(1) * self.unclip / (2 * sides.sum(1)))[:, None]
        return Predictions(
            boxes=self._scaled(np.hstack([boxes[:, :2] - far, boxes[:, 2:] + far]), chances, size),
            scores=scores[:, None],
        )

    @staticmethod
    def _map(shape: tuple[int, ...]) -> tuple[int, int] | None:
        sizes = [size for size in grids.without_ones(shape, 2) if size != 1]
        return (sizes[0], sizes[1]) if len(sizes) == 2 else None

    @staticmethod
    def _scaled(boxes: NDArray[np.float64], chances: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """Returns boxes of the map in pixels of the input, cut at its edge."""
        import numpy as np

        limits = [chances.shape[1], chances.shape[0]] * 2
        return np.asarray(np.clip(boxes, 0, limits) * (size[0] / chances.shape[0]), np.float64)
