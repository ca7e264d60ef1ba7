"""What the metrics of depth share: pixels whose depth is known, and the alignment of relative depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import targets_of, values_like
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ALIGNMENTS: Final = ("none", "median", "affine")


def check_alignment(metric: str, align: str) -> str:
    """Returns how outputs are brought to the targets' scale.

    Raises:
        DataError: no such way.
    """
    if align not in _ALIGNMENTS:
        raise DataError(f'The metric {metric}: align is "{align}"; accepted are {", ".join(_ALIGNMENTS)}.')
    return align


def known_depths(
    metric: str, output: NDArray[Any], data: MetricData, align: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yields (target, output) of each item, (pixels,), where the target is above 0 and finite.

    `median` multiplies the output by the ratio of the medians; `affine` fits scale and shift by least squares, as
    relative depth needs (Ranftl et al. 2020).

    Raises:
        DataError: the targets do not fit, or an item has no pixel of known depth.
    """
    import numpy as np

    targets = values_like(metric, output, targets_of(metric, data, "depth map"), data.names[0])
    for item, (wanted, row) in enumerate(zip(targets, output, strict=True)):
        known = np.isfinite(wanted) & (wanted > 0)
        if not known.any():
            raise DataError(
                f"The metric {metric} needs depths above 0; the target of item {item} has none. Leave the item out."
            )
        real, found = wanted[known], np.asarray(row, np.float64)[known]
        if align == "median" and np.median(found) > 0:
            found = found * (np.median(real) / np.median(found))
        elif align == "affine":
            columns = np.stack([found, np.ones_like(found)], axis=1)
            found = columns @ np.linalg.lstsq(columns, real, rcond=None)[0]
        yield real, found
