"""abs_rel: 1 - mean over items of the mean |output - depth| / depth over pixels of known depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.metrics.depth import check_alignment, known_depths
from edgekit.metrics.item_metric import Statistic, ValueMetric, mean_of
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    from numpy.typing import NDArray


@final
class AbsRel(ValueMetric):
    """The mean relative error of depth.

    Args:
        align: How outputs are brought to the targets' scale: none, median or affine.
    """

    name: str = "abs_rel"
    sentence: ClassVar[str] = "1 - abs_rel {own} %, float {float} %, on {count} {things}"

    def __init__(self, *, align: str = "none") -> None:
        self._align = check_alignment(self.name, align)

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's mean relative error."""
        import numpy as np

        pairs = known_depths(self.name, outputs[0], data, self._align)
        return mean_of(np.asarray([1 - float(np.mean(np.abs(found - real) / real)) for real, found in pairs]))
