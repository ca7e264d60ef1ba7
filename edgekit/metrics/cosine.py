"""cosine: the mean cosine similarity with the float model's output; interval: Student's t."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric import Metric, check_sizes, is_integer, mean_similarity
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Cosine(Metric):
    """The mean cosine similarity with the float model's output."""

    name: str = "cosine"
    against_float: ClassVar[bool] = True
    takes_sizes: ClassVar[bool] = True  # the zeros behind a row change neither its length nor a product with it
    sentence: ClassVar[str] = "mean cosine similarity with float {share:.5f} on {count} items"

    def check(self, data: MetricData) -> None:
        """Needs a float output."""
        _float_places(data)

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Student's t interval."""
        import numpy as np

        places = _float_places(data)
        if data.reference is None:
            return Drop(metric="cosine", value=None, count=len(data.outputs[0]), detail="")
        # The worst output of each row: a model whose second output is broken must not hide behind its first.
        similarity = np.min([row_cosine(data.outputs[i], data.reference[i]) for i in places], axis=0)
        return mean_similarity("cosine", similarity, data.confidence)


def _float_places(data: MetricData) -> list[int]:
    """Returns which outputs are float; without a float model, the artifact's types decide."""
    places = [i for i, array in enumerate(data.reference or data.outputs) if not is_integer(array)]
    if not places:
        raise DataError(
            f"The metric cosine compares directions of float outputs; {', '.join(data.names)} holds integers. "
            'Use the metric "agreement", which compares integer outputs value by value.'
        )
    return places


def row_cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the cosine similarity of rows (rows, ...); 1 for two zero vectors, 0 for one."""
    import numpy as np

    check_sizes(first, second)
    a = np.asarray(first, np.float64).reshape(len(first), -1)
    b = np.asarray(second, np.float64).reshape(len(second), -1)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    similarity = np.sum(a * b, axis=1) / np.where(product > 0, product, 1.0)
    return np.where(both_zero, 1.0, np.clip(similarity, -1.0, 1.0))
