"""How much a metric lost, with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """What an artifact loses of a metric, in percentage points.

    Attributes:
        metric: Its name.
        value: metric(float) - metric(artifact); None without a float model, NaN where outputs are not finite.
        low: Lower end of the 95 % interval; None where the value is.
        high: Upper end.
        detectable: The smallest drop that this many items can tell from none, given the noise that was seen; None where
            that is not known.
        float_value: metric(float); None without a float model.
        artifact_value: metric(artifact).
        count: Items (pairs for spearman).
        detail: One sentence for a person.
        scores: What each item contributes, (items,): the artifact's value is 100 times their mean. None for metrics
            that are no mean over items.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    float_value: float | None = None
    artifact_value: float | None = None
    count: int
    detail: str
    scores: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
