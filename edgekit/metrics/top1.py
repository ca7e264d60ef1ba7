"""top1: the share of items whose highest score is the target's class; interval: Tango's paired score interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

from edgekit.metrics.drop import Drop
from edgekit.metrics.hits import answered_classes, check_classes, class_labels, paired_hits
from edgekit.metrics.metric import Metric
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Top1(Metric):
    """The share of items whose highest score is the target's class."""

    name: str = "top1"
    classifies: ClassVar[bool] = True
    stand_in: ClassVar[str] = "agreement"
    # A changed decision is a loss only where float was right, and some changes are gains: between none and all.
    stand_in_overstates: ClassVar[bool] = True

    def outputs_read(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the first."""
        return (0,) if names else ()

    def check(self, data: MetricData) -> None:
        """Needs class scores, and one class index a row."""
        _correct(data.outputs[0], class_labels("top1", data), data.names[0])

    def measure(self, data: MetricData) -> Drop:
        """Returns the drop, with Tango's paired score interval."""
        labels = class_labels("top1", data)
        own = _correct(data.outputs[0], labels, data.names[0])
        theirs = _correct(data.reference[0], labels, data.names[0]) if data.reference is not None else None
        return paired_hits("top1", own, theirs, data.confidence)


def _correct(array: NDArray[Any], labels: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    answered, classes = answered_classes("top1", array, name)
    if classes is not None:
        check_classes(labels, classes, name)
    right: NDArray[np.bool_] = answered == labels
    return right
