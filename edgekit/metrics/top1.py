"""top1: the share of items whose highest score is the target's class; interval: Tango's paired score interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric, class_scores, is_integer
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Top1(Metric):
    """The share of items whose highest score is the target's class."""

    name: str = "top1"
    classifies: ClassVar[bool] = True
    stand_in: ClassVar[str] = "agreement"
    # A changed decision is a loss only where float was right, and some changes are gains: between none and all.
    stand_in_overstates: ClassVar[bool] = True

    def check(self, data: MetricData) -> None:
        """Needs class scores, and one class index a row."""
        _correct(data.outputs[0], _labels(data), data.names[0])

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Tango's paired score interval."""
        import numpy as np

        labels = _labels(data)
        right = _correct(data.outputs[0], labels, data.names[0])
        count = len(right)
        own = 100 * float(right.mean())
        if data.reference is None:
            return Drop(
                metric="top1", value=None, artifact_value=own, count=count, detail="", scores=right.astype(np.float64)
            )
        float_right = _correct(data.reference[0], labels, data.names[0])
        lost, won = int(np.sum(float_right & ~right)), int(np.sum(right & ~float_right))
        interval = paired.paired_difference_interval(lost, won, count, data.confidence).scaled(100)
        smallest = paired.smallest_paired_difference(won, count, data.confidence)
        return Drop(
            metric="top1",
            value=100 * (lost - won) / count,
            low=interval.low,
            high=interval.high,
            detectable=None if smallest is None else 100 * smallest,
            float_value=100 * float(float_right.mean()),
            artifact_value=own,
            count=count,
            detail="",
            scores=right.astype(np.float64),
        )


def _labels(data: MetricData) -> NDArray[np.int64]:
    """Returns one class index a row, shape (rows,)."""
    import numpy as np

    targets = data.targets
    if targets is None:
        raise DataError(
            "The metric top1 needs targets and the evaluation data has none. "
            "Yield (inputs, class index) from [data] evaluation, or use the metric agreement."
        )
    rows = len(data.item_of_row)
    flat = targets.reshape(-1)
    whole = flat.astype(np.int64) if flat.dtype.kind in "iufb" else None
    if flat.size != rows or whole is None or not np.array_equal(whole, flat):
        raise DataError(
            f"The metric top1 needs one class index for each of {rows} rows; the targets are {targets.dtype} of shape "
            f"{targets.shape}. Yield a whole number with each input."
        )
    return whole


def _correct(array: NDArray[Any], labels: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    if is_integer(array) and array[0].size == 1:
        # The model has taken the highest score itself.
        answered: NDArray[np.bool_] = array.reshape(len(array)) == labels
        return answered
    scores = class_scores("top1", array, name)
    classes = scores.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f'The targets hold classes {labels.min()} to {labels.max()}; output "{name}" has {classes} classes, '
            f"0 to {classes - 1}. Use the model's own class numbers."
        )
    right: NDArray[np.bool_] = scores.argmax(1) == labels
    return right
