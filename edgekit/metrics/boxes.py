"""Objects of pictures as targets: tables of x1, y1, x2, y2, class and more, in pixels of the model's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError
from edgekit.metrics.item_metric import targets_of
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.heads.predictions import Detections

BOX_COLUMNS: Final = 5
"""x1, y1, x2, y2, class; a sixth column is 1 for a crowd, in which any number of detections may lie."""

WANTED: Final = "table of x1, y1, x2, y2, class"


def box_tables(metric: str, data: MetricData) -> list[NDArray[np.float64]]:
    """Returns the objects of each item, (objects, 5 or more); rows of NaN, which fill the tables up, left out.

    Raises:
        DataError: there are none, of another form, or a box without size or class.
    """
    import numpy as np

    targets = targets_of(metric, data, WANTED)
    if targets.dtype.kind not in "iuf" or targets.ndim != 3 or targets.shape[2] < BOX_COLUMNS:
        raise DataError(
            f"The metric {metric} needs a table of boxes with each item, columns x1, y1, x2, y2 (pixels of the model's "
            f"input) and class; the targets are {targets.dtype} of shape {(1, *targets.shape[1:])}."
        )
    values = np.asarray(targets, np.float64)
    tables = [rows[~np.isnan(rows[:, 0])] for rows in values]
    for item, rows in enumerate(tables):
        wrong = (rows[:, 2] <= rows[:, 0]) | (rows[:, 3] <= rows[:, 1]) | (rows[:, 4] < 0) | (rows[:, 4] % 1 != 0)
        if wrong.any():
            listed = ", ".join(f"{value:g}" for value in rows[wrong][0][:BOX_COLUMNS])
            raise DataError(
                f"The target of item {item} holds the box {listed}; the metric {metric} needs x1 < x2, y1 < y2 and a "
                "class number from 0. Give corners, not sizes, and the model's own class numbers."
            )
    return tables


def box_annotations(tables: Sequence[NDArray[np.float64]]) -> list[list[dict[str, Any]]]:
    """Returns boxes in COCO's form."""
    return [
        [
            {
                "category_id": int(row[4]),
                **_box(row),
                "iscrowd": int(len(row) == BOX_COLUMNS + 1 and row[BOX_COLUMNS] == 1),
            }
            for row in rows
        ]
        for rows in tables
    ]


def results(found: Sequence[Detections]) -> list[list[dict[str, Any]]]:
    """Returns detections in COCO's form."""
    return [
        [
            {"category_id": int(kind), **_box(box), "score": float(score)}
            for box, score, kind in zip(item.boxes, item.scores, item.classes, strict=True)
        ]
        for item in found
    ]


def padded(tables: Sequence[NDArray[np.float64]], columns: int) -> NDArray[np.float64]:
    """Returns tables (n, columns) as one array (items, most, columns), filled up with NaN."""
    import numpy as np

    most = max((len(rows) for rows in tables), default=0)
    made = np.full((len(tables), max(1, most), columns), np.nan)
    for item, rows in enumerate(tables):
        made[item, : len(rows)] = rows
    return made


def _box(row: NDArray[np.float64]) -> dict[str, Any]:
    width, height = float(row[2] - row[0]), float(row[3] - row[1])
    return {"bbox": [float(row[0]), float(row[1]), width, height], "area": width * height}
