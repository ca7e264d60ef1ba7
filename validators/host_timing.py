"""What a timing on this machine says: the ratio to the float artifact. It is never a device's latency."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from edgekit.intervals import median_interval
from edgekit.units import format_milliseconds
from edgekit.validators.base import Evidence


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HostTiming:
    """Timings of single inferences at batch 1 on the machine that ran them.

    Attributes:
        host: That machine.
        threads: That the runtime was given.
        runs: Timed inferences.
        median_ms: Median.
        p95_ms: 95th percentile.
        float_median_ms: Median of the float artifact, timed in turn; None without one.
        ratio: Median of (artifact / float) over the pairs that ran one after the other; None without a float artifact.
        ratio_low: Lower end of the ratio's 95 % interval (order statistics); None where there are too few pairs.
        ratio_high: Upper end.
    """

    host: str
    threads: int
    runs: int
    median_ms: float
    p95_ms: float
    float_median_ms: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def sentence(self) -> str:
        """One sentence for a person."""
        text = (
            f"Host {self.host}, {self.threads} thread{'' if self.threads == 1 else 's'}: median "
            f"{format_milliseconds(self.median_ms)}, p95 {format_milliseconds(self.p95_ms)} over {self.runs} runs"
        )
        if self.ratio is None:
            return text + "."
        text += f"; {self.ratio:.2f} x float's latency"
        if self.ratio_low is not None and self.ratio_high is not None:
            text += f" ({self.ratio_low:.2f} to {self.ratio_high:.2f})"
        return text + "."

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


def host_timing(evidence: Evidence) -> HostTiming | None:
    """Returns what the evidence's timings say, or None where there are none (`evidence.missing` has the reason)."""
    import numpy as np

    if not evidence.latencies_ms:
        return None
    own = np.asarray(evidence.latencies_ms)
    timing = HostTiming(
        host=evidence.host,
        threads=evidence.threads,
        runs=len(own),
        median_ms=float(np.median(own)),
        p95_ms=float(np.percentile(own, 95)),
    )
    theirs = np.asarray(evidence.float_latencies_ms)
    if len(theirs) != len(own):
        return timing
    ratios = own / theirs
    interval = median_interval(ratios)
    known = math.isfinite(interval.low)
    return HostTiming(
        host=timing.host,
        threads=timing.threads,
        runs=timing.runs,
        median_ms=timing.median_ms,
        p95_ms=timing.p95_ms,
        float_median_ms=float(np.median(theirs)),
        ratio=float(np.median(ratios)),
        ratio_low=interval.low if known else None,
        ratio_high=interval.high if known else None,
    )
