"""pck: the share of visible points that lie within a share of the longer side of the pose's box (PCK, 0.2 by default).

Every pose takes the detection whose points lie nearest on average; without a detection all its points are missed.
Source: Yang and Ramanan 2013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit.metrics.boxes import BOX_COLUMNS, padded
from edgekit.metrics.head import Head
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.poses import pose_rows, pose_tables
from edgekit.task.references import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Pck(ItemMetric):
    """The share of points that are right.

    Args:
        decoder: Which head the outputs are of.
        decided: Score from which a pose counts as found.
        within: Share of the longer side of the box within which a point is right.
        settings: Settings of the decoder.
    """

    name: str = "pck"
    targets: ClassVar[Literal["row", "pair", "table"]] = "table"

    def __init__(
        self, *, decoder: str = "heatmap", decided: float = 0.0, within: float = 0.2, **settings: Value
    ) -> None:
        self._head = Head(metric=self.name, decoder=decoder, settings=settings)
        self._decided = decided
        self._within = within

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Decodes the outputs; keeps each item's right and visible points."""
        import numpy as np

        found = pose_rows(self.name, self._found(outputs, data))
        counts = np.asarray(
            [
                np.sum([self._right(pose, rows) for pose in poses], axis=0) if len(poses) else (0, 0)
                for poses, rows in zip(pose_tables(self.name, data), found, strict=True)
            ]
        )

        def figure(chosen: NDArray[np.int64]) -> float:
            right, visible = counts[chosen].sum(0)
            return float(right / visible) if visible else float(np.nan)

        return Statistic(figure=figure)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the poses that were found, as tables."""
        rows = pose_rows(self.name, self._found(outputs, data))
        rows = [row[(row[:, 2] > row[:, 0]) & (row[:, 3] > row[:, 1])] for row in rows]
        return padded(rows, rows[0].shape[1])

    def _found(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> list[Any]:
        return [item.above(self._decided) for item in self._head.detections(outputs, data)]

    def _right(self, pose: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[int, int]:
        """Returns (points within the limit, visible points) of one pose."""
        import numpy as np

        points = pose[BOX_COLUMNS:].reshape(-1, 3)
        visible = points[:, 2] > 0
        if not len(found) or not visible.any():
            return 0, int(visible.sum())
        others = found[:, BOX_COLUMNS:].reshape(len(found), -1, 3)[:, visible, :2]
        far = np.linalg.norm(others - points[visible, :2], axis=2)
        limit = self._within * float((pose[2:4] - pose[:2]).max())
        return int((far[far.mean(1).argmin()] <= limit).sum()), int(visible.sum())
