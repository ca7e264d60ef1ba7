"""spearman: rank correlation of the similarity of an item's two outputs with its target; interval: bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.cosine import row_cosine
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.resampling import resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Spearman(Metric):
    """Rank correlation between the cosine similarity of an item's two outputs and its target."""

    name: str = "spearman"
    stand_in: ClassVar[str] = "cosine"
    targets: ClassVar[Literal["row", "pair", "table"]] = "pair"
    things: ClassVar[str] = "pairs"

    def check(self, data: MetricData) -> None:
        """Needs items of two rows each, and one number for each item."""
        _pairs(data)

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with its interval from the bootstrap."""
        import numpy as np

        pairs = _pairs(data)
        target = np.asarray(data.targets, np.float64).reshape(-1)

        def similarities(arrays: tuple[NDArray[Any], ...]) -> NDArray[np.float64]:
            first = np.asarray(arrays[0])
            return row_cosine(first[pairs[:, 0]], first[pairs[:, 1]])

        own = similarities(data.outputs)
        theirs = similarities(data.reference) if data.reference is not None else None

        def value(similarity: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
            return paired.rank_correlation(similarity[chosen], target[chosen])

        return resampled(
            "spearman",
            lambda chosen: value(own, chosen),
            None if theirs is None else lambda chosen: value(theirs, chosen),
            data,
            same=theirs is not None and np.array_equal(own, theirs),
        )


def _pairs(data: MetricData) -> NDArray[np.int64]:
    """Returns the two rows of each item, shape (items, 2)."""
    import numpy as np

    counts = np.bincount(data.item_of_row, minlength=data.items)
    targets = data.targets
    if (counts != 2).any() or targets is None or targets.size != data.items:
        has = "no targets" if targets is None else f"targets of shape {targets.shape}"
        raise DataError(
            f"The metric spearman needs items of two rows each and one number for each item; the evaluation data has "
            f"{data.items} items with {counts.min()} to {counts.max()} rows and {has}. "
            "Yield (inputs of batch 2, similarity) from [data] evaluation."
        )
    return np.argsort(data.item_of_row, kind="stable").reshape(-1, 2)
