"""The contract of a metric: two models' outputs on the same items in, a drop with its confidence interval out.

Implement `Metric` where the pairing of items gives a better interval than resampling does; else implement
`FigureMetric`, which needs one number for a set of items. A metric is one file. A third party brings it by the entry
point group `edgekit.metrics`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.resampling import over_items, resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Metric(ABC):
    """Says how much of a quality an artifact loses against the float model, in percentage points.

    Attributes:
        name: What users write in `[data] metric`.

    Class attributes:
        classifies: The first output holds class scores, and whole-number targets are classes.
        against_float: It compares with the float model's outputs, and says nothing between two networks.
        stand_in: The metric that takes its place where samples have no targets; "" for none.
        targets: What an item's target belongs to: each `row`, the `pair` of its rows, or a `table` or text a row,
            which may have any length.
        stand_in_overstates: Half of the stand-in's drop is expected of this metric, and maybe none.
        takes_sizes: It compares row by row, and rows may differ in size.
        things: What is counted.
        sentence: The head of a check's detail, from `metric`, `own`, `share` (own / 100), `float`, `count`, `things`.
    """

    name: str
    classifies: ClassVar[bool] = False
    against_float: ClassVar[bool] = False
    stand_in: ClassVar[str] = ""
    targets: ClassVar[Literal["row", "pair", "table"]] = "row"
    stand_in_overstates: ClassVar[bool] = False
    takes_sizes: ClassVar[bool] = False
    things: ClassVar[str] = "items"
    sentence: ClassVar[str] = "{metric} {own}, float {float}, on {count} {things}"

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the places of the outputs that the metric reads, among `names`; all by default."""
        return tuple(range(len(names)))

    @abstractmethod
    def check(self, data: MetricData) -> None:
        """Checks that the metric can be computed for these outputs and targets.

        Raises:
            DataError: they do not fit; the message says what was expected.
        """

    @abstractmethod
    def measure(self, data: MetricData) -> Drop:
        """Returns the drop; without a reference the artifact's own value and no drop.

        Raises:
            DataError: the outputs or the targets do not fit.
        """


class FigureMetric(Metric):
    """A metric that is one number over a set of items; its interval comes from resampling the items."""

    @abstractmethod
    def figure(self, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any] | None) -> float:
        """Returns the metric of these rows, larger is better, 1 for all of it.

        Args:
            outputs: One array (rows, ...) an output.
            targets: One an item; None without targets.
        """

    @final
    def check(self, data: MetricData) -> None:
        """Computes the figure on all rows."""
        self.figure(tuple(data.outputs[i] for i in self.outputs_read(data.names)), data.targets)

    @final
    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with its interval from the bootstrap."""
        same = data.reference is not None and all(
            (a == b).all() if a.shape == b.shape else False for a, b in zip(data.outputs, data.reference, strict=True)
        )
        places = self.outputs_read(data.names)
        own = over_items(self.figure, data, tuple(data.outputs[i] for i in places))
        theirs = None
        if data.reference is not None:
            theirs = over_items(self.figure, data, tuple(data.reference[i] for i in places))
        return resampled(self.name, own, theirs, data, same=same, timed=True)


def is_integer(array: NDArray[Any]) -> bool:
    """Returns True for class numbers and masks: those are equal or not, and have no highest value that means much."""
    return array.dtype.kind in "iub"


def check_sizes(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Checks that rows of two outputs have as many values.

    Raises:
        DataError: they have not.
    """
    if first[0].size != second[0].size:
        raise DataError(
            f"An output has shape {(1, *first.shape[1:])} in the artifact and {(1, *second.shape[1:])} in the float "
            "model. Compare an artifact with the model it was made from."
        )


def mean_similarity(metric: str, similarity: NDArray[np.float64], confidence: float) -> Drop:
    """Returns the drop of a figure that compares rows with the float model's, (rows,), 1 where they are the same."""
    loss = 100 * (1 - similarity)
    interval = paired.mean_interval(loss, confidence)
    return Drop(
        metric=metric,
        value=float(loss.mean()),
        low=max(0.0, interval.low),
        high=min(200.0, interval.high),
        detectable=(interval.high - interval.low) / 2 if math.isfinite(interval.high) else None,
        float_value=100.0,
        artifact_value=100 * float(similarity.mean()),
        count=len(similarity),
        detail="",
        scores=similarity,
    )


def class_scores(metric: str, array: NDArray[Any], name: str) -> NDArray[Any]:
    """Returns class scores (rows, classes) of an output, sizes of 1 dropped.

    Raises:
        DataError: the output is no (rows, classes).
    """
    sizes = [size for size in array.shape[1:] if size != 1]
    if len(sizes) != 1:
        shape = (1, *array.shape[1:])
        other = "a regression's error" if not sizes else "cosine, or another measure"
        raise DataError(
            f'The metric {metric} needs class scores, shape (1, classes); output "{name}" has shape {shape}. '
            f'Set [data] metric to {other} as "metrics.py:function".'
        )
    return array.reshape(len(array), sizes[0])
