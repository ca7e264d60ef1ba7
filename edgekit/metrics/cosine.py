"""cosine: the mean cosine similarity with the float model's output; interval: Student's t."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit import intervals as paired
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Cosine(Metric):
    """The mean cosine similarity with the float model's output."""

    name: str = "cosine"
    against_float: ClassVar[bool] = True
    sentence: ClassVar[str] = "mean cosine similarity with float {share:.5f} on {count} items"

    def check(self, data: MetricData) -> None:
        """Every output will do."""
        del data

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Student's t interval."""
        import numpy as np

        count = len(data.outputs[0])
        if data.reference is None:
            return Drop(metric="cosine", value=None, count=count, detail="")
        # The worst output of each row: a model whose second output is broken must not hide behind its first.
        similarity = np.min(
            [row_cosine(a, b) for a, b in zip(data.outputs, data.reference, strict=True) if a.dtype.kind == "f"], axis=0
        )
        loss = 100 * (1 - similarity)
        interval = paired.mean_interval(loss, data.confidence)
        return Drop(
            metric="cosine",
            value=float(loss.mean()),
            low=max(0.0, interval.low),
            high=min(200.0, interval.high),
            detectable=(interval.high - interval.low) / 2 if math.isfinite(interval.high) else None,
            float_value=100.0,
            artifact_value=100 * float(similarity.mean()),
            count=count,
            detail="",
            scores=similarity,
        )


def row_cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the cosine similarity of rows (rows, ...); 1 for two zero vectors, 0 for one."""
    import numpy as np

    if first[0].size != second[0].size:
        raise DataError(
            f"An output has shape {(1, *first.shape[1:])} in the artifact and {(1, *second.shape[1:])} in the float "
            "model. Compare an artifact with the model it was made from."
        )
    a = np.asarray(first, np.float64).reshape(len(first), -1)
    b = np.asarray(second, np.float64).reshape(len(second), -1)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    similarity = np.sum(a * b, axis=1) / np.where(product > 0, product, 1.0)
    return np.where(both_zero, 1.0, np.clip(similarity, -1.0, 1.0))
