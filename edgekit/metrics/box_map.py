"""map and map50: mean average precision of boxes, over overlaps 0.5 to 0.95 and at 0.5, as COCO has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit.metrics.average_precision import Ranking
from edgekit.metrics.boxes import BOX_COLUMNS, box_annotations, box_tables, padded, results
from edgekit.metrics.coco_matching import match
from edgekit.metrics.head import Head, picture_size
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.metric_data import MetricData
from edgekit.task.references import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _MeanAveragePrecision(ItemMetric):
    """What both have in common.

    Args:
        decoder: Which head the outputs are of; "" looks for one that fits.
        decided: Score from which a box is a decision, where the float model's take the place of labels.
        settings: Settings of the decoder.
    """

    targets: ClassVar[Literal["row", "pair", "table"]] = "table"
    overlap: ClassVar[float | None]

    def __init__(self, *, decoder: str = "", decided: float = 0.25, **settings: Value) -> None:
        self._head = Head(metric=self.name, decoder=decoder, settings=settings)
        self._decided = decided

    @final
    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Decodes the outputs; keeps which detections of each item match an object."""
        import numpy as np

        tables, size = box_tables(self.name, data), picture_size(self.name, data)
        found = self._head.detections(outputs, data)
        wanted = None if self.overlap is None else np.asarray([self.overlap])
        matches = match(self.name, "bbox", box_annotations(tables), results(found), size=size, overlaps=wanted)
        return Statistic(figure=Ranking(matches).figure, centred=True)

    @final
    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the boxes that score high enough, as tables."""
        tables = [
            _table(item.boxes, item.classes)
            for item in (found.above(self._decided) for found in self._head.detections(outputs, data))
        ]
        return padded(tables, BOX_COLUMNS)


@final
class BoxMap(_MeanAveragePrecision):
    """Mean average precision of boxes over overlaps 0.5, 0.55, ..., 0.95."""

    name: str = "map"
    overlap: ClassVar[float | None] = None


@final
class BoxMap50(_MeanAveragePrecision):
    """Mean average precision of boxes at an overlap of 0.5."""

    name: str = "map50"
    overlap: ClassVar[float | None] = 0.5


def _table(boxes: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    import numpy as np

    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return np.concatenate([boxes, classes[:, None]], axis=1, dtype=np.float64)[kept]
