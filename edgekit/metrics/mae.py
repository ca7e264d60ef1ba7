"""mae: 1 - (mean |output - target|) / (standard deviation of the targets), so that a drop of 1 pp is 1 % of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.metrics.item_metric import Statistic, ValueMetric, mean_of
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.regression import residuals

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class Mae(ValueMetric):
    """The mean absolute error, in units of the targets' spread."""

    name: str = "mae"
    sentence: ClassVar[str] = "1 - mae / spread of the targets {own} %, float {float} %, on {count} {things}"

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's mean absolute error."""
        import numpy as np

        found = residuals(self.name, outputs[0], data)
        return mean_of(1 - np.abs(found.errors).mean(1) / found.spread)
