"""The base of metrics that look at each item once: resampling items then only sums or ranks what was kept of each."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.resampling import FigureOfItems, resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """What is kept of one model's outputs.

    Attributes:
        figure: The metric of some items, given their indices with repetitions; larger is better, 1 for all of it.
        scores: What each item contributes, (items,), where the figure is their mean; else None.
        centred: Repeated items raise the figure by themselves: see `bootstrap_interval`.
    """

    figure: FigureOfItems
    scores: NDArray[np.float64] | None = None
    centred: bool = False


class ItemMetric(Metric):
    """A metric of items of one row each, with its interval from the bootstrap over items."""

    stand_in: ClassVar[str] = "agreement_of"
    takes_sizes: ClassVar[bool] = True

    @abstractmethod
    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Returns what resampling needs of these outputs, (rows, ...) each, against `data.targets`.

        Raises:
            DataError: the outputs or the targets do not fit.
        """

    @abstractmethod
    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the targets, one an item, against which these outputs would be right."""

    @final
    def check(self, data: MetricData) -> None:
        """Computes the figure of all items."""
        import numpy as np

        self._statistic_of(data.outputs, data).figure(np.arange(data.items))

    @final
    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with its interval from the bootstrap."""
        return self.measure_as(self.name, data)

    @final
    def measure_as(self, name: str, data: MetricData) -> Drop:
        """Returns the drop under another name."""
        own = self._statistic_of(data.outputs, data)
        if data.reference is None:
            return resampled(name, own.figure, None, data, same=False, scores=own.scores)
        theirs = self._statistic_of(data.reference, data)
        same = all(_equal(a, b) for a, b in zip(data.outputs, data.reference, strict=True))
        return resampled(name, own.figure, theirs.figure, data, same=same, scores=own.scores, centred=own.centred)

    @final
    def _statistic_of(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Returns the statistic of outputs whose rows may differ in size: then from each item's own score.

        Raises:
            DataError: rows differ, and the figure is no mean of scores, or items have several rows.
        """
        import numpy as np

        name = data.differing(self.outputs_read(data.names))
        if not name:
            return self.statistic(outputs, data)
        scores = np.empty(data.items)
        for rows, group in replace(data, outputs=outputs).groups_of_one_size():
            found = self.statistic(group.outputs, group) if data.items == len(data.item_of_row) else None
            if found is None or found.scores is None:
                raise DataError(
                    f'The metric {self.name} looks at all items at once, and the output "{name}" differs in size from '
                    "row to row. Use the metric cosine, give evaluation data of one size, or omit the check: "
                    "--without accuracy."
                )
            scores[rows] = found.scores
        return mean_of(scores)


class ValueMetric(ItemMetric):
    """A metric that compares the values of the first output with targets of the same shape."""

    @final
    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the first."""
        return (0,) if names else ()

    @final
    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the first output."""
        del data
        return outputs[0]


def mean_of(scores: NDArray[Any]) -> Statistic:
    """Returns the statistic whose figure is the mean of one score an item, (items,)."""
    import numpy as np

    kept = np.asarray(scores, np.float64)
    return Statistic(figure=lambda chosen: float(kept[chosen].mean()), scores=kept)


def targets_of(metric: str, data: MetricData, wanted: str) -> NDArray[Any]:
    """Returns the targets, one an item, (items, ...), where every item is one row.

    Args:
        metric: Who needs them.
        data: With the targets.
        wanted: What an item's target should be, for the message.

    Raises:
        DataError: there are none, or items have several rows.
    """
    targets = data.targets
    if targets is None:
        raise DataError(
            f"The metric {metric} needs targets and the evaluation data has none. Yield (inputs, {wanted}) from "
            "[data] evaluation, or use the metric agreement."
        )
    rows = len(data.item_of_row)
    if data.items != rows or len(targets) != rows:
        raise DataError(
            f"The metric {metric} needs one target for each row; the evaluation data has {rows} rows, {data.items} "
            f"items and targets of shape {targets.shape}. Yield (inputs, {wanted}) for every input."
        )
    return targets


def values_like(metric: str, output: NDArray[Any], targets: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Returns numeric targets in the shape of an output, sizes of 1 apart.

    Raises:
        DataError: the targets are no numbers or have another shape.
    """
    import numpy as np

    if targets.dtype.kind not in "iufb" or _sizes(output.shape) != _sizes(targets.shape):
        raise DataError(
            f'The metric {metric} needs one number for each value of the output "{name}", shape '
            f"{(1, *output.shape[1:])}; the targets are {targets.dtype} of shape {(1, *targets.shape[1:])}."
        )
    return np.asarray(targets, np.float64).reshape(output.shape)


def _sizes(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape[1:] if size != 1]


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.array_equal(first, second))
