"""macro_f1: the mean over classes of F1 = 2 tp / (2 tp + fp + fn); classes that no target has do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.metrics.hits import answered_classes, check_classes, class_labels
from edgekit.metrics.item_metric import ItemMetric, Statistic
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class MacroF1(ItemMetric):
    """The mean over classes of the harmonic mean of precision and recall."""

    name: str = "macro_f1"
    classifies: ClassVar[bool] = True
    stand_in: ClassVar[str] = "agreement"
    stand_in_overstates: ClassVar[bool] = True

    def statistic(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> Statistic:
        """Reads the first output; keeps the class that each row answers."""
        import numpy as np

        labels = class_labels(self.name, data)
        answered, classes = answered_classes(self.name, outputs[0], data.names[0])
        if classes is not None:
            check_classes(labels, classes, data.names[0])
        size = int(max(labels.max(), answered.max())) + 1

        def figure(chosen: NDArray[np.int64]) -> float:
            real = np.bincount(labels[chosen], minlength=size)
            said = np.bincount(answered[chosen], minlength=size)
            right = chosen[labels[chosen] == answered[chosen]]
            hits = np.bincount(labels[right], minlength=size)
            there = real > 0
            return float(np.mean(2 * hits[there] / (real[there] + said[there])))

        return Statistic(figure=figure)

    def decisions(self, outputs: tuple[NDArray[Any], ...], data: MetricData) -> NDArray[Any]:
        """Returns the class that each row answers."""
        return answered_classes(self.name, outputs[0], data.names[0])[0]
