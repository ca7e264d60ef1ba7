"""The head of a pose net for one person: a heatmap a point (points, h, w).

A point is the highest cell, moved a quarter of a cell towards the higher neighbour, times the stride; its score is the
cell's value. Source: Xiao et al. 2018 (SimpleBaseline), Sun et al. 2019 (HRNet): get_final_preds.
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
class Heatmap(Decoder):
    """Heatmaps of keypoints.

    Attributes:
        channels_last: The output is (h, w, points).
    """

    title: ClassVar[str] = "heatmaps"
    suppresses: ClassVar[bool] = False

    channels_last: bool = False

    def why_not(self, shapes: Shapes, size: tuple[int, int]) -> str | None:
        """Needs one output (points, h, w) of the input's proportions."""
        maps = [grids.without_ones(shape, 3) for shape in shapes]
        if len(maps) == 1 and len(maps[0]) == 3:
            rows, columns = maps[0][:2] if self.channels_last else maps[0][1:]
            if rows * size[1] == columns * size[0]:
                return None
        wanted = "(h, w, points)" if self.channels_last else "(points, h, w)"
        return f"they have the shapes {', '.join(map(str, shapes))}; expected one {wanted} of the input's proportions"

    def predict(self, outputs: Arrays, size: tuple[int, int]) -> Predictions:
        """Returns one box around all points, with the points."""
        import numpy as np

        maps = outputs[0].reshape(grids.without_ones(outputs[0].shape, 3))
        maps = maps.transpose(2, 0, 1) if self.channels_last else maps
        points = _peaks(maps) * ([size[0] / maps.shape[1]] * 2 + [1])
        box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
        return Predictions(boxes=box[None], scores=points[:, 2].mean(keepdims=True)[None], keypoints=points[None])


def _peaks(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Returns x, y in cells and the value of the highest cell of each map (points, h, w), (points, 3)."""
    import numpy as np

    count, rows, columns = maps.shape
    best = maps.reshape(count, -1).argmax(1)
    y, x = best // columns, best % columns
    each = np.arange(count)
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    left, right = maps[each, y, np.maximum(x - 1, 0)], maps[each, y, np.minimum(x + 1, columns - 1)]
    above, below = maps[each, np.maximum(y - 1, 0), x], maps[each, np.minimum(y + 1, rows - 1), x]
    x = x + np.where(inside, 0.25 * np.sign(right - left), 0)
    y = y + np.where(inside, 0.25 * np.sign(below - above), 0)
    return np.stack([x, y, maps[each, best // columns, best % columns]], axis=1)
