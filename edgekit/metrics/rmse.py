"""rmse: 1 - sqrt(mean (output - target)^2) / (standard deviation of the targets): a drop of 1 pp is 1 % of that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.metrics.item_metric import Statistic, ValueMetric
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.regression import residuals

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class Rmse(ValueMetric):
    """The root of the mean squared error, in units of the targets' spread."""

    name: str = "rmse"
    sentence: ClassVar[str] = "1 - rmse / spread of the targets {own} %, float {float} %, on {count} {things}"

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's mean squared error."""
        found = residuals(self.name, outputs[0], data)
        squares = (found.errors**2).mean(1)
        return Statistic(figure=lambda chosen: 1 - math.sqrt(float(squares[chosen].mean())) / found.spread)
