"""Average precision over matches that were made once: a resample of the pictures only weighs and ranks them anew.

AP of a class at one overlap is the mean, over the recalls 0, 0.01, ..., 1, of the best precision at that recall or a
higher one (COCO's 101 points); the figure is the mean over classes that have objects, and overlaps. A picture drawn
twice has the weight 2: its detections stand beside each other in the ranking, where a copy would have stood.

Source: Lin et al. 2014 and pycocotools' COCOeval.accumulate, with which a test compares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POINTS: Final = 101


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Detections of all pictures that were matched with objects.

    Attributes:
        items: Picture of each detection, (n,).
        classes: Class of each, (n,), from 0.
        scores: Score of each, (n,).
        hits: Whether each found an object, (overlaps, n).
        ignored: Whether each does not count, (overlaps, n): it found an object that does not, such as a crowd.
        objects: Objects that count, (pictures, classes).
    """

    items: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


@final
class Ranking:
    """Matches in the order of their scores, class by class.

    Args:
        matches: All of them.
    """

    def __init__(self, matches: Matches) -> None:
        import numpy as np

        order = np.lexsort((-matches.scores, matches.classes))
        classes = matches.classes[order]
        overlaps, count = matches.hits.shape[0], matches.objects.shape[1]
        self._objects = matches.objects.astype(np.float64)
        self._items = matches.items[order]
        self._found = _Listed.of(matches.hits[:, order] & ~matches.ignored[:, order], classes)
        self._ignored = _Listed.of(matches.ignored[:, order], classes)
        self._class_starts = np.searchsorted(classes, np.arange(count))
        self._segments = self._found.overlaps * count + self._found.classes
        starts = np.searchsorted(self._segments, np.arange(overlaps * count))
        self._segment_start = starts[self._segments]
        # Where the list of ignored detections stands at each hit and at the start of its class.
        here = self._ignored.overlaps * (len(order) + 1) + self._ignored.places
        base = self._found.overlaps * (len(order) + 1)
        self._ignored_until = np.searchsorted(here, base + self._found.places)
        self._ignored_from = np.searchsorted(here, base + self._class_starts[self._found.classes])
        self._recalls = np.linspace(0.0, 1.0, _POINTS)
        self._shape = (overlaps, count)

    def figure(self, chosen: NDArray[np.int64]) -> float:
        """Returns the mean average precision of these pictures, some maybe more than once; NaN without objects."""
        import numpy as np

        weights = np.bincount(chosen, minlength=len(self._objects)).astype(np.float64)
        objects = weights @ self._objects
        counted = objects > 0
        if not counted.any():
            return float(np.nan)
        found, places = self._found, self._found.places
        own = weights[self._items]
        seen = _summed(own)
        hits = _summed(own[places])
        right = hits[1:] - hits[self._segment_start]
        ranked = seen[places + 1] - seen[self._class_starts[found.classes]]
        if self._ignored.places.size:
            skipped = _summed(own[self._ignored.places])
            ranked = ranked - (skipped[self._ignored_until] - skipped[self._ignored_from])
        precision = right / np.maximum(ranked, 1)
        areas = self._best_to_the_right(precision) * self._points_of(right / np.maximum(objects, 1)[found.classes])
        sums = np.bincount(self._segments, weights=areas, minlength=self._shape[0] * self._shape[1])
        return float(sums.reshape(self._shape)[:, counted].mean() / _POINTS)

    def _best_to_the_right(self, precision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the best precision at each hit and behind it, segment by segment."""
        import numpy as np

        # Each segment is lifted above the ones behind it, so that one pass serves all.
        lift = 2.0 * (self._shape[0] * self._shape[1] - self._segments)
        best: NDArray[np.float64] = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        return best

    def _points_of(self, recall: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns how many of the recall points each hit reaches first."""
        import numpy as np

        last = _POINTS - 1
        reached = np.minimum((recall * last).astype(np.int64), last)
        reached += (reached < last) & (self._recalls[np.minimum(reached + 1, last)] <= recall)
        reached -= self._recalls[reached] > recall
        points = reached + 1
        before = np.concatenate([[0], points[:-1]])
        first = self._segment_start == np.arange(len(points))
        return np.where(first, points, points - before).astype(np.float64)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """The true entries of a table (overlaps, n), row by row."""

    overlaps: NDArray[np.int64]
    places: NDArray[np.int64]
    classes: NDArray[np.int64]

    @staticmethod
    def of(table: NDArray[np.bool_], classes: NDArray[np.int64]) -> _Listed:
        import numpy as np

        overlaps, places = np.nonzero(table)
        return _Listed(overlaps=overlaps, places=places, classes=classes[places])


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 0 and the running sums of values."""
    import numpy as np

    return np.concatenate([[0.0], np.cumsum(values)])
