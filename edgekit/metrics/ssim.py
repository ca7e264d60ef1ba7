"""ssim: the mean structural similarity of pictures (Wang et al. 2004), windows of 7 x 7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import Statistic, ValueMetric, mean_of
from edgekit.metrics.libraries import scikit_image_metrics
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.pictures import picture_pairs, value_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW: Final = 7


@final
class Ssim(ValueMetric):
    """The mean structural similarity.

    Args:
        data_range: Range of the values; 0 takes 255 where a target is above 2, else 1.
    """

    name: str = "ssim"

    def __init__(self, *, data_range: float = 0.0) -> None:
        self._range = data_range

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's similarity."""
        import numpy as np

        library, wide = scikit_image_metrics(self.name), value_range(self._range, data)
        found: list[float] = []
        for wanted, picture in picture_pairs(self.name, outputs[0], data):
            if min(picture.shape[:2]) < _WINDOW:
                raise DataError(
                    f"The metric ssim compares windows of {_WINDOW} x {_WINDOW} pixels; the output "
                    f'"{data.names[0]}" is {picture.shape[1]} x {picture.shape[0]}. Use the metric psnr.'
                )
            similarity = library.structural_similarity(
                wanted, picture, data_range=wide, channel_axis=2, win_size=_WINDOW
            )
            found.append(float(similarity))
        return mean_of(np.asarray(found))
