"""recall_at_k: the share of items of which one of the k most similar others, by cosine, has the same label.

The others are all items that are judged; items whose label no other has do not count. The bootstrap resamples the items
that are looked for, not those among which they are looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.errors import DataError
from edgekit.metrics.hits import class_labels
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS: Final = 1024
"""Rows whose similarities to all others are in memory at a time."""


@final
class RecallAtK(ItemMetric):
    """The share of items that find their like among the nearest.

    Args:
        k: How many of the nearest are looked at.
    """

    name: str = "recall_at_k"
    # Neighbours of unlike items change without any loss: directions say more.
    stand_in: ClassVar[str] = "cosine"

    def __init__(self, *, k: int = 1) -> None:
        if k < 1:
            raise DataError(f"The metric recall_at_k: k is {k}; expected a whole number above 0.")
        self._k = k

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output, one embedding a row; keeps whether each item finds its like."""
        import numpy as np

        labels = class_labels(self.name, data)
        counted = np.bincount(np.unique(labels, return_inverse=True)[1])[np.unique(labels, return_inverse=True)[1]] > 1
        if not counted.any():
            raise DataError(
                f"The metric {self.name} looks for items of the same label, and all {len(labels)} labels differ. "
                "Give at least two items of a label."
            )
        found = (labels[nearest(outputs[0], self._k)] == labels[:, None]).any(1)

        def figure(chosen: NDArray[np.int64]) -> float:
            kept = chosen[counted[chosen]]
            return float(found[kept].mean()) if kept.size else float(np.nan)

        scores = found.astype(np.float64) if counted.all() else None
        return Statistic(figure=figure, scores=scores)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the number of each row's nearest other: rows that share it are alike."""
        del data
        return nearest(outputs[0], 1)[:, 0]


def nearest(embeddings: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Returns the k most similar other rows of each row (rows, ...), (rows, k), fewer where there are not as many."""
    import numpy as np

    vectors = np.asarray(embeddings, np.float32).reshape(len(embeddings), -1)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    k = min(k, len(vectors) - 1)
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(vectors), _ROWS):
        similarity = vectors[start : start + _ROWS] @ vectors.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        found.append(np.argsort(-similarity, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)
