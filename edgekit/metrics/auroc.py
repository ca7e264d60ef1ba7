"""auroc: the probability that an anomalous item scores above a normal one, ties half (the area under the ROC curve)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import ItemMetric, Statistic, targets_of
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ANOMALOUS: Final = 0.1
"""Share of the items that count as anomalous where only the float model's scores say so."""


@final
class Auroc(ItemMetric):
    """How well scores tell anomalous items (target 1) from normal ones (0). A map's score is its highest value."""

    name: str = "auroc"

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps each item's rank among all."""
        import numpy as np

        targets = targets_of(self.name, data, "0 or 1").reshape(data.items, -1)
        if targets.shape[1] != 1 or targets.dtype.kind not in "iufb" or set(np.unique(targets).tolist()) != {0, 1}:
            raise DataError(
                f"The metric {self.name} needs 0 (normal) or 1 (anomalous) with each item, and some of both; the "
                f"targets are {targets.dtype} of shape {data.targets.shape if data.targets is not None else None}, "
                f"from {targets.min()} to {targets.max()}."
            )
        positive = targets[:, 0] == 1
        values, rank = np.unique(_scores(outputs[0]), return_inverse=True)

        def figure(chosen: NDArray[np.int64]) -> float:
            ranks, wanted = rank[chosen], positive[chosen]
            anomalous = np.bincount(ranks[wanted], minlength=len(values))
            normal = np.bincount(ranks[~wanted], minlength=len(values))
            pairs = anomalous.sum() * normal.sum()
            below = np.cumsum(normal) - normal
            return float(np.sum(anomalous * (below + normal / 2)) / pairs) if pairs else float(np.nan)

        return Statistic(figure=figure)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns 1 for the tenth of the items that score highest."""
        del data
        import numpy as np

        scores = _scores(outputs[0])
        decided = np.zeros(len(scores), np.int64)
        decided[np.argsort(-scores, kind="stable")[: max(1, round(_ANOMALOUS * len(scores)))]] = 1
        return decided


def _scores(output: NDArray[Any]) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(np.asarray(output, np.float64).reshape(len(output), -1).max(1))
