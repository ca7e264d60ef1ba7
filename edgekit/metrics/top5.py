"""top5: the share of items whose class is among the five highest scores; interval: Tango's paired score interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.metrics.drop import Drop
from edgekit.metrics.hits import check_classes, class_labels, paired_hits
from edgekit.metrics.metric import Metric, class_scores
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COUNT: Final = 5


@final
class Top5(Metric):
    """The share of items whose class is among the five highest scores."""

    name: str = "top5"
    classifies: ClassVar[bool] = True
    stand_in: ClassVar[str] = "agreement"
    stand_in_overstates: ClassVar[bool] = True

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the first."""
        return (0,) if names else ()

    def check(self, data: MetricData) -> None:
        """Needs class scores, and one class index a row."""
        _among(data.outputs[0], class_labels("top5", data), data.names[0])

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Tango's paired score interval."""
        labels = class_labels("top5", data)
        own = _among(data.outputs[0], labels, data.names[0])
        theirs = _among(data.reference[0], labels, data.names[0]) if data.reference is not None else None
        return paired_hits("top5", own, theirs, data.confidence)


def _among(array: NDArray[Any], labels: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    """Returns whether fewer than five classes stand before the label's: higher, or equal and of a smaller number."""
    import numpy as np

    scores = np.asarray(class_scores("top5", array, name))
    check_classes(labels, scores.shape[1], name)
    own = scores[np.arange(len(scores)), labels][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return np.asarray(before.sum(1) < _COUNT, np.bool_)
