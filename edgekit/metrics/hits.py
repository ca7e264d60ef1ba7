"""Shares of items that a model gets right or wrong, compared in pairs: what top1 and top5 are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def paired_hits(metric: str, own: NDArray[np.bool_], theirs: NDArray[np.bool_] | None, confidence: float) -> Drop:
    """Returns the drop of a share of right items (rows,), with Tango's paired score interval."""
    import numpy as np

    count, value = len(own), 100 * float(own.mean())
    scores = own.astype(np.float64)
    if theirs is None:
        return Drop(metric=metric, value=None, artifact_value=value, count=count, detail="", scores=scores)
    lost, won = int(np.sum(theirs & ~own)), int(np.sum(own & ~theirs))
    interval = paired.paired_difference_interval(lost, won, count, confidence).scaled(100)
    smallest = paired.smallest_paired_difference(won, count, confidence)
    return Drop(
        metric=metric,
        value=100 * (lost - won) / count,
        low=interval.low,
        high=interval.high,
        detectable=None if smallest is None else 100 * smallest,
        float_value=100 * float(theirs.mean()),
        artifact_value=value,
        count=count,
        detail="",
        scores=scores,
    )


def class_labels(metric: str, data: MetricData) -> NDArray[np.int64]:
    """Returns one class index a row, shape (rows,).

    Raises:
        DataError: there are no targets, or not one whole number a row.
    """
    import numpy as np

    targets = data.targets
    if targets is None:
        raise DataError(
            f"The metric {metric} needs targets and the evaluation data has none. "
            "Yield (inputs, class index) from [data] evaluation, or use the metric agreement."
        )
    rows = len(data.item_of_row)
    flat = targets.reshape(-1)
    whole = flat.astype(np.int64) if flat.dtype.kind in "iufb" else None
    if flat.size != rows or whole is None or not np.array_equal(whole, flat):
        raise DataError(
            f"The metric {metric} needs one class index for each of {rows} rows; the targets are {targets.dtype} of "
            f"shape {targets.shape}. Yield a whole number with each input."
        )
    return whole


def check_classes(labels: NDArray[np.int64], classes: int, name: str) -> None:
    """Checks that labels (rows,) lie among the classes of an output.

    Raises:
        DataError: they do not.
    """
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f'The targets hold classes {labels.min()} to {labels.max()}; output "{name}" has {classes} classes, '
            f"0 to {classes - 1}. Use the model's own class numbers."
        )


def answered_classes(metric: str, array: NDArray[Any], name: str) -> tuple[NDArray[np.int64], int | None]:
    """Returns (the class that each row answers, the number of classes), None where the model took the highest itself.

    Raises:
        DataError: the output holds no class scores.
    """
    import numpy as np

    from edgekit.metrics.metric import class_scores, is_integer

    if is_integer(array) and array[0].size == 1:
        return np.asarray(array).reshape(len(array)).astype(np.int64), None
    scores = class_scores(metric, array, name)
    return np.asarray(scores.argmax(1), np.int64), scores.shape[1]
