"""r2: the coefficient of determination, 1 - sum (output - target)^2 / sum (target - mean target)^2, over all values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from edgekit.metrics.item_metric import Statistic, ValueMetric
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.regression import residuals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class R2(ValueMetric):
    """The share of the targets' variance that the output explains."""

    name: str = "r2"

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's sums."""
        import numpy as np

        found = residuals(self.name, outputs[0], data)
        # Shifted by the mean of all: the difference of two large sums would lose digits.
        shifted = found.targets - found.targets.mean()
        lost, first, second = (found.errors**2).sum(1), shifted.sum(1), (shifted**2).sum(1)
        width = shifted.shape[1]

        def figure(chosen: NDArray[np.int64]) -> float:
            total = second[chosen].sum() - first[chosen].sum() ** 2 / (width * len(chosen))
            return float(1 - lost[chosen].sum() / total) if total > 0 else float(np.nan)

        return Statistic(figure=figure)
