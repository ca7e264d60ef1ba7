"""Core ML's non-maximum suppression behind a detector: which boxes stay.

Source: Core ML's NonMaximumSuppression.proto. The highest score is picked, what overlaps it by more than the threshold
goes, and so on; with `perClass` only among boxes of the same class, which is that of a box's highest score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def suppressed_names(message: Any | None) -> tuple[str, ...]:
    """Returns the names of the outputs that a suppression reads, confidence and coordinates; none without one."""
    if message is None:
        return ()
    return message.confidenceInputFeatureName, message.coordinatesInputFeatureName


def chosen_boxes(message: Any, confidence: NDArray[Any], coordinates: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the rows that stay, highest score first.

    Args:
        message: The `NonMaximumSuppression` message; its own thresholds hold.
        confidence: (boxes, classes).
        coordinates: (boxes, 4), centre and sides as shares of the picture.
    """
    import numpy as np

    from edgekit.heads.suppression import suppress

    scores = confidence.max(1)
    places = np.flatnonzero(scores >= message.confidenceThreshold)
    boxes = coordinates[places].astype(np.float64)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    classes = confidence[places].argmax(1) if message.pickTop.perClass else np.zeros(len(places), np.int64)
    return np.asarray(places[suppress(corners, scores[places], classes, message.iouThreshold, len(places))], np.int64)
