"""What the metrics of a regression share: one output's values against targets, errors kept per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import targets_of, values_like
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WANTED: Final = "number, or an array like the output"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """Errors of a regression, (items, values).

    Attributes:
        errors: Output minus target.
        targets: The targets.
        spread: Standard deviation of all targets: the unit of an error.
    """

    errors: NDArray[np.float64]
    targets: NDArray[np.float64]
    spread: float


def residuals(metric: str, output: NDArray[Any], data: MetricData) -> Residuals:
    """Returns the errors of the first output.

    Raises:
        DataError: the targets do not fit, or are all the same.
    """
    import numpy as np

    targets = values_like(metric, output, targets_of(metric, data, WANTED), data.names[0]).reshape(len(output), -1)
    spread = float(targets.std())
    if spread == 0:
        raise DataError(
            f"The metric {metric} measures errors in units of the targets' spread, and all targets are "
            f"{targets.flat[0]:g}. Give evaluation data whose targets differ."
        )
    values = np.asarray(output, np.float64).reshape(len(output), -1)
    return Residuals(errors=values - targets, targets=targets, spread=spread)
