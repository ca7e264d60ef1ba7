"""What psnr and ssim share: pictures of an output against target pictures, and the range of their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgekit.metrics.item_metric import targets_of, values_like
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHANNELS: Final = (1, 3, 4)


def picture_pairs(
    metric: str, output: NDArray[Any], data: MetricData
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yields (target, output) of each item, (H, W, C).

    Raises:
        DataError: there are no targets, or none of the output's shape.
    """
    import numpy as np

    targets = values_like(metric, output, targets_of(metric, data, "picture"), data.names[0])
    for wanted, found in zip(targets, output, strict=True):
        yield _channels_last(wanted), _channels_last(np.asarray(found, np.float64))


def value_range(given: float, data: MetricData) -> float:
    """Returns the range of the pictures' values: as given, else 255 where a target is above 2 and 1 where none is."""
    if given > 0 or data.targets is None:
        return given or 1.0
    return 255.0 if float(data.targets.max()) > 2 else 1.0


def _channels_last(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    if picture.ndim == 2:
        return picture[:, :, None]
    return picture.transpose(1, 2, 0) if picture.shape[0] in _CHANNELS else picture
