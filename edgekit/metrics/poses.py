"""Poses as targets: tables of x1, y1, x2, y2, class, then x, y, visible of each point, in the input's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError
from edgekit.metrics.boxes import BOX_COLUMNS, box_tables
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.predictions import Detections

COCO_SIGMAS: Final = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
"""Of COCO's 17 points: how far a person's marks of the same point lie apart, in units of the root of its area."""


def pose_tables(metric: str, data: MetricData) -> list[NDArray[np.float64]]:
    """Returns the poses of each item, (poses, 5 + 3 points).

    Raises:
        DataError: there are none, or of another form.
    """
    tables = box_tables(metric, data)
    columns = tables[0].shape[1]
    if columns <= BOX_COLUMNS or (columns - BOX_COLUMNS) % 3:
        raise DataError(
            f"The metric {metric} needs tables of x1, y1, x2, y2, class, then x, y and visible (0, 1 or 2) of each "
            f"point; the targets have {columns} columns."
        )
    return tables


def pose_rows(metric: str, found: Sequence[Detections]) -> list[NDArray[np.float64]]:
    """Returns detections as tables of poses.

    Raises:
        DataError: they have no points.
    """
    import numpy as np

    rows: list[NDArray[np.float64]] = []
    for item in found:
        if item.keypoints is None:
            raise DataError(
                f"The metric {metric} needs points, and the decoder finds none in these outputs. Say how many a pose "
                "has, [head] keypoints = 17, or use the metric map."
            )
        points = item.keypoints.copy()
        points[:, :, 2] = 2
        boxes = np.concatenate([item.boxes, item.classes[:, None]], axis=1, dtype=np.float64)
        rows.append(np.concatenate([boxes, points.reshape(len(points), -1)], axis=1))
    return rows


def pose_annotations(tables: Sequence[NDArray[np.float64]], scores: Sequence[Any] | None = None) -> list[Any]:
    """Returns poses in COCO's form, with scores where they are detections."""
    import numpy as np

    made: list[list[dict[str, Any]]] = []
    for item, rows in enumerate(tables):
        listed: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            sides = row[2:4] - row[:2]
            points = row[BOX_COLUMNS:]
            one = {
                "category_id": int(row[4]),
                "bbox": [*row[:2].tolist(), *sides.tolist()],
                "area": float(np.prod(sides)),
                "keypoints": points.tolist(),
                "num_keypoints": int((points[2::3] > 0).sum()),
            }
            listed.append(one if scores is None else {**one, "score": float(scores[item][number])})
        made.append(listed)
    return made
