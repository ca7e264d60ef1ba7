"""Non-maximum suppression by class, and intersection over union of boxes."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], classes: NDArray[np.int64], iou: float, most: int
) -> NDArray[np.int64]:
    """Returns the boxes to keep, highest score first: none overlaps a kept one of its class by more than `iou`.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,).
        classes: (n,).
        iou: Overlap above which the lower score goes.
        most: How many are kept.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    # A box is held against those of its own class only, of which a tenth or a hundredth is left.
    left = [order[classes[order] == kind] for kind in np.unique(classes)]
    first = [(int(rank[own[0]]), place) for place, own in enumerate(left)]
    heapq.heapify(first)
    kept: list[int] = []
    while first and len(kept) < most:
        _, place = heapq.heappop(first)
        best, rest = int(left[place][0]), left[place][1:]
        kept.append(best)
        left[place] = rest[overlaps(boxes[best], boxes[rest]) <= iou]
        if left[place].size:
            heapq.heappush(first, (int(rank[left[place][0]]), place))
    return np.asarray(kept, np.int64)


def overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the intersection over union of one box (4,) with others (n, 4), (n,)."""
    import numpy as np

    # Columns, not rows of two: numpy takes products and minima along short rows one by one.
    x1, y1, x2, y2 = np.ascontiguousarray(others.T)
    common = np.maximum(np.minimum(box[2], x2) - np.maximum(box[0], x1), 0)
    common *= np.maximum(np.minimum(box[3], y2) - np.maximum(box[1], y1), 0)
    area = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    own = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
    return np.asarray(common / np.maximum(own + area - common, np.finfo(np.float64).tiny), np.float64)
