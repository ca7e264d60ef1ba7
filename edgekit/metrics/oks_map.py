"""oks_map: mean average precision of poses over similarities 0.5 to 0.95 of their points (OKS), as COCO has it.

OKS of a pose is the mean over visible points of exp(-d^2 / (2 area (2 sigma)^2)); the area is its box's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit.errors import DataError
from edgekit.heads.grids import numbers
from edgekit.metrics.average_precision import Ranking
from edgekit.metrics.boxes import BOX_COLUMNS, padded
from edgekit.metrics.coco_matching import match
from edgekit.metrics.head import Head, picture_size
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.poses import COCO_SIGMAS, pose_annotations, pose_rows, pose_tables
from edgekit.task.references import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class OksMap(ItemMetric):
    """Mean average precision of poses.

    Args:
        decoder: Which head the outputs are of; "" looks for one that fits.
        decided: Score from which a pose is a decision, where the float model's take the place of labels.
        sigmas: Fall-off of each point, with commas; COCO's for 17 points, else 1 / points of each.
        settings: Settings of the decoder.
    """

    name: str = "oks_map"
    targets: ClassVar[Literal["row", "pair", "table"]] = "table"

    def __init__(self, *, decoder: str = "", decided: float = 0.25, sigmas: str = "", **settings: Value) -> None:
        self._head = Head(metric=self.name, decoder=decoder, settings=settings)
        self._decided = decided
        self._sigmas = sigmas

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Decodes the outputs; keeps which poses of each item match one."""
        size, tables = picture_size(self.name, data), pose_tables(self.name, data)
        found = self._head.detections(outputs, data)
        rows = pose_rows(self.name, found)
        points = (tables[0].shape[1] - BOX_COLUMNS) // 3
        if any(len(row) and row.shape[1] != tables[0].shape[1] for row in rows):
            raise DataError(
                f"The metric {self.name}: the targets have {points} points and the model finds "
                f"{(rows[0].shape[1] - BOX_COLUMNS) // 3}. Give the points of the model, in its order."
            )
        matches = match(
            self.name,
            "keypoints",
            pose_annotations(tables),
            pose_annotations(rows, [item.scores for item in found]),
            size=size,
            sigmas=self._fall_off(points),
        )
        return Statistic(figure=Ranking(matches).figure, centred=True)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the poses that score high enough, as tables."""
        kept = [item.above(self._decided) for item in self._head.detections(outputs, data)]
        rows = pose_rows(self.name, kept)
        rows = [row[(row[:, 2] > row[:, 0]) & (row[:, 3] > row[:, 1])] for row in rows]
        return padded(rows, rows[0].shape[1])

    def _fall_off(self, points: int) -> NDArray[np.float64]:
        """Returns one number a point.

        Raises:
            DataError: another number of them was given.
        """
        import numpy as np

        if not self._sigmas:
            return np.asarray(COCO_SIGMAS if points == len(COCO_SIGMAS) else [1 / points] * points)
        given = np.asarray(numbers(self._sigmas, "sigmas"))
        if len(given) != points:
            raise DataError(
                f"The metric {self.name}: sigmas has {len(given)} numbers and a pose {points} points. Give one a point."
            )
        return given
