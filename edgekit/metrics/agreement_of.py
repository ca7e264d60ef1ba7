"""agreement_of: any metric against the float model's own decisions, for data without targets.

`agreement_of(metric="map", decoder="yolov8")` takes the boxes that the float model finds as the truth. The float model
has all of it by definition; what the artifact has less is what it decides otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.item_metric import ItemMetric
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData
from edgekit.task.metric_text import MetricText
from edgekit.task.references import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class AgreementOf(Metric):
    """A metric with the float model's decisions in place of targets.

    Args:
        metric: Its name.
        others: Its settings.
    """

    name: str = "agreement_of"
    against_float: ClassVar[bool] = True
    sentence: ClassVar[str] = "agreement with the float model's decisions {own} on {count} items"

    def __init__(self, *, metric: str = "macro_f1", **others: Value) -> None:
        from edgekit.metrics.table import find_metric

        found = find_metric(str(MetricText(name=metric, settings=others)))
        if not isinstance(found, ItemMetric):
            raise DataError(
                f'The metric agreement_of needs the name of a metric that has decisions; "{metric}" has none. '
                'Use "agreement" for class scores and "cosine" for other outputs.'
            )
        self._metric = found

    def check(self, data: MetricData) -> None:
        """Needs outputs that the metric can read."""
        self._metric.check(self._decided(data, data.outputs if data.reference is None else data.reference))

    def measure(self, data: MetricData) -> Drop:
        """Returns what the artifact decides otherwise, with its interval from the bootstrap."""
        if data.reference is None:
            return Drop(metric=self.name, value=None, count=data.items, detail="")
        return self._metric.measure_as(self.name, self._decided(data, data.reference))

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns what the metric reads."""
        return self._metric.outputs_read(names)

    def _decided(self, data: MetricData, outputs: tuple[NDArray[Any], ...]) -> MetricData:
        return replace(data, targets=self._metric.decisions(outputs, data))
