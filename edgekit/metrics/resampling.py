"""The drop of a figure over a set of items, with its interval from resampling the items."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgekit import intervals as paired
from edgekit.metrics.drop import Drop
from edgekit.metrics.metric_data import MetricData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Figure = Callable[[tuple["NDArray[Any]", ...], "NDArray[Any] | None"], float]
FigureOfItems = Callable[["NDArray[np.int64]"], float]
"""A figure of some items, given their indices (m,) with repetitions."""

RESAMPLES: Final = 1000
SLOW_RESAMPLES: Final = 200
SLOW_SECONDS: Final = 0.02
"""A figure that takes longer than this is resampled less often, so that judging stays a matter of seconds."""


def over_items(figure: Figure, data: MetricData, arrays: tuple[NDArray[Any], ...]) -> FigureOfItems:
    """Returns the figure of `arrays` as a function of the items that are looked at."""
    import numpy as np

    order = np.argsort(data.item_of_row, kind="stable")
    starts = np.searchsorted(data.item_of_row[order], np.arange(data.items + 1))
    loaded = tuple(np.asarray(array) for array in arrays)

    def value(chosen: NDArray[np.int64]) -> float:
        rows = np.concatenate([order[starts[i] : starts[i + 1]] for i in chosen])
        targets = data.targets[chosen] if data.targets is not None else None
        return figure(tuple(array[rows] for array in loaded), targets)

    return value


def resampled(
    metric: str,
    own: FigureOfItems,
    theirs: FigureOfItems | None,
    data: MetricData,
    *,
    same: bool,
    scores: NDArray[np.float64] | None = None,
    centred: bool = False,
    timed: bool = False,
) -> Drop:
    """Returns the drop of a figure over all items.

    Args:
        metric: Its name.
        own: The artifact's figure.
        theirs: The float model's; None without one.
        data: For the number of items and the confidence.
        same: Both have the same outputs.
        centred: As for `bootstrap_interval`.
        timed: The figure may be slow, as a user's function: then it is resampled less often.
        scores: What each item contributes to the artifact's figure, where that is their mean.
    """
    import numpy as np

    items = data.items
    everything = np.arange(items)
    started = time.perf_counter()
    own_value = own(everything)
    slow = timed and time.perf_counter() - started >= SLOW_SECONDS
    resamples = SLOW_RESAMPLES if slow else RESAMPLES
    if theirs is None:
        return Drop(metric=metric, value=None, artifact_value=100 * own_value, count=items, detail="", scores=scores)
    float_value = theirs(everything)
    drop = 100 * (float_value - own_value)
    if same:
        # Not an estimate: the same outputs lose nothing on any data.
        interval = paired.Interval(low=drop, high=drop)
    else:
        interval = paired.bootstrap_interval(
            lambda chosen: theirs(chosen) - own(chosen),
            items,
            resamples=resamples,
            confidence=data.confidence,
            centred=centred,
        ).scaled(100)
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return Drop(
        metric=metric,
        value=drop,
        # Without an interval a kept limit is not proven, and a missed one stays missed.
        low=interval.low if known else drop,
        high=interval.high if known else math.inf,
        detectable=(interval.high - interval.low) / 2 if known else None,
        float_value=100 * float_value,
        artifact_value=100 * own_value,
        count=items,
        detail="",
        scores=scores,
    )
