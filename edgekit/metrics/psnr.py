"""psnr: the mean peak signal-to-noise ratio of pictures; one percentage point is one decibel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.metrics.item_metric import Statistic, ValueMetric, mean_of
from edgekit.metrics.libraries import scikit_image_metrics
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.pictures import picture_pairs, value_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HIGHEST_DB: Final = 100.0
"""Of equal pictures, whose ratio has no limit: also the unit, so that a point is a decibel."""


@final
class Psnr(ValueMetric):
    """The mean ratio of a picture's range to its error.

    Args:
        data_range: Range of the values; 0 takes 255 where a target is above 2, else 1.
    """

    name: str = "psnr"
    sentence: ClassVar[str] = "psnr {own} dB, float {float} dB, on {count} {things}, 1 pp is 1 dB"

    def __init__(self, *, data_range: float = 0.0) -> None:
        self._range = data_range

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's ratio."""
        import numpy as np

        library, wide = scikit_image_metrics(self.name), value_range(self._range, data)
        ratios = [
            _HIGHEST_DB
            if np.array_equal(wanted, found)
            else min(_HIGHEST_DB, float(library.peak_signal_noise_ratio(wanted, found, data_range=wide)))
            for wanted, found in picture_pairs(self.name, outputs[0], data)
        ]
        return mean_of(np.asarray(ratios) / _HIGHEST_DB)
