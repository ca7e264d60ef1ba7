"""delta1: the share of pixels of known depth where max(output / depth, depth / output) < 1.25, mean over items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from edgekit.metrics.depth import check_alignment, known_depths
from edgekit.metrics.item_metric import Statistic, ValueMetric, mean_of
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RATIO: Final = 1.25


@final
class Delta1(ValueMetric):
    """The share of pixels whose depth is right within a quarter.

    Args:
        align: How outputs are brought to the targets' scale: none, median or affine.
    """

    name: str = "delta1"

    def __init__(self, *, align: str = "none") -> None:
        self._align = check_alignment(self.name, align)

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's share."""
        import numpy as np

        pairs = known_depths(self.name, outputs[0], data, self._align)
        return mean_of(np.asarray([_share(real, found) for real, found in pairs]))


def _share(real: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Returns the share of pixels within the ratio; an output of 0 or less is never within."""
    return float(((found < _RATIO * real) & (real < _RATIO * found)).mean())
