"""What timings of single inferences say: a figure to judge, its confidence interval, and whether it drifted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from edgekit.intervals import median_interval
from edgekit.units import format_milliseconds

Statistic = Literal["median", "mean", "estimate"]
"""What the figure is. `mean` where a tool prints no median, `estimate` where it does not say what it is."""

DRIFT_LIMIT: Final = 1.10
"""A last third this much slower than the first is reported: the device throttles, or something else runs on it."""

_FEWEST_FOR_DRIFT: Final = 30


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFigures:
    """Latency of one inference at batch 1, in ms.

    Attributes:
        value_ms: The figure that a budget is held against.
        statistic: What it is.
        low_ms: Lower end of its 95 % confidence interval; None where it cannot be computed.
        high_ms: Upper end.
        p95_ms: 95th percentile; None where the tool does not print it.
        min_ms: Fastest inference.
        max_ms: Slowest inference.
        runs: Timed inferences.
        drift: Median of the last third over that of the first third; None where there are too few timings.
        samples_ms: The timings, in the order in which they ran; empty where the tool does not print them.
    """

    value_ms: float
    statistic: Statistic
    low_ms: float | None = None
    high_ms: float | None = None
    p95_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    runs: int | None = None
    drift: float | None = None
    samples_ms: tuple[float, ...] = ()

    @property
    def sentence(self) -> str:
        """One sentence for a person: `median 12.1 ms (12 to 12.3 ms), p95 14 ms over 100 runs`."""
        text = f"{self.statistic} {format_milliseconds(self.value_ms)}"
        if self.low_ms is not None and self.high_ms is not None:
            text += f" ({format_milliseconds(self.low_ms)} to {format_milliseconds(self.high_ms)})"
        if self.p95_ms is not None:
            text += f", p95 {format_milliseconds(self.p95_ms)}"
        return text if self.runs is None else f"{text} over {self.runs} run{'' if self.runs == 1 else 's'}"

    @property
    def drift_sentence(self) -> str:
        """A warning where the timings rose while they ran, else ""."""
        if self.drift is None or self.drift < DRIFT_LIMIT:
            return ""
        return (
            f"The last third of the runs was {self.drift:.2f} x as slow as the first: the device throttles, or "
            "something else runs on it."
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return {**data, "samples_ms": [round(sample, 6) for sample in self.samples_ms]}


def figures_of(samples_ms: Sequence[float]) -> LatencyFigures:
    """Returns what timings say: the median, with its interval between two order statistics.

    Args:
        samples_ms: At least one timing, in the order in which they ran.
    """
    import numpy as np

    values = np.asarray(samples_ms, dtype=np.float64)
    interval = median_interval(values)
    known = math.isfinite(interval.low)
    return LatencyFigures(
        value_ms=float(np.median(values)),
        statistic="median",
        low_ms=interval.low if known else None,
        high_ms=interval.high if known else None,
        p95_ms=float(np.percentile(values, 95)),
        min_ms=float(values.min()),
        max_ms=float(values.max()),
        runs=len(values),
        drift=_drift(samples_ms),
        samples_ms=tuple(float(value) for value in values),
    )


def _drift(samples_ms: Sequence[float]) -> float | None:
    import numpy as np

    if len(samples_ms) < _FEWEST_FOR_DRIFT:
        return None
    third = len(samples_ms) // 3
    first = float(np.median(samples_ms[:third]))
    return float(np.median(samples_ms[-third:])) / first if first > 0 else None
