"""agreement: the share of items where artifact and float model have the same highest score; interval: Wilson's.

Where the first output is integer: the mean share of equal values; interval: Student's t. Where its rows differ in size:
the mean share of places where both have the same highest score along the last axis.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric, check_sizes, class_scores, is_integer, mean_similarity
from edgekit.metrics.metric_data import MetricData


@final
class Agreement(Metric):
    """The share of items where artifact and float model have the same highest score."""

    name: str = "agreement"
    classifies: ClassVar[bool] = True
    against_float: ClassVar[bool] = True
    takes_sizes: ClassVar[bool] = True
    sentence: ClassVar[str] = "agreement with float {own} % on {count} items"

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the first."""
        return (0,) if names else ()

    def check(self, data: MetricData) -> None:
        """Needs class scores, or integers."""
        if data.differing((0,)):
            _check_classes(data)
        elif not is_integer(data.outputs[0]):
            class_scores("agreement", data.outputs[0], data.names[0])

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Wilson's interval."""
        import numpy as np

        if data.reference is not None and data.differing((0,)):
            _check_classes(data)
            shares = np.empty(data.items)
            for rows, group in data.groups_of_one_size():
                own, theirs = group.outputs[0], cast("tuple[Any, ...]", group.reference)[0]
                whole = is_integer(theirs)
                same = own == theirs if whole else own.argmax(-1) == theirs.argmax(-1)
                shares[rows] = same.reshape(len(rows), -1).mean(1)
            return mean_similarity("agreement", shares, data.confidence)
        if data.reference is not None and is_integer(data.reference[0]):
            check_sizes(data.outputs[0], data.reference[0])
            equal = data.outputs[0].reshape(data.reference[0].shape) == data.reference[0]
            return mean_similarity("agreement", equal.reshape(len(equal), -1).mean(1), data.confidence)
        own = class_scores("agreement", data.outputs[0], data.names[0])
        if data.reference is None:
            return Drop(metric="agreement", value=None, count=len(own), detail="")
        theirs = class_scores("agreement", data.reference[0], data.names[0])
        same = own.argmax(1) == theirs.argmax(1)
        differ = int(np.sum(~same))
        interval = paired.wilson_interval(differ, len(own), data.confidence).scaled(100)
        return Drop(
            metric="agreement",
            value=100 * differ / len(own),
            low=interval.low,
            high=interval.high,
            # A share that many items miss altogether with a probability of 5 % or less (the rule of three).
            detectable=100 * (1 - (1 - data.confidence) ** (1 / len(own))),
            float_value=100.0,
            artifact_value=100 * (1 - differ / len(own)),
            count=len(own),
            detail="",
            scores=same.astype(np.float64),
        )


def _check_classes(data: MetricData) -> None:
    """Checks that the first output, whose rows differ in size, has one axis of classes, and one row an item.

    Raises:
        DataError: its last axis is open too, or items have several rows.
    """
    sizes = data.sizes[0]
    if data.items != len(data.item_of_row) or (
        not is_integer(data.outputs[0]) and sizes is not None and len(set(sizes[:, -1].tolist())) > 1
    ):
        raise DataError(
            f"The metric agreement compares the highest scores along the last axis, and that of the output "
            f'"{data.names[0]}" differs in size from row to row. Use the metric cosine, or omit the check: --without '
            "accuracy."
        )
