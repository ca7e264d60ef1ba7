"""Latency on the device. A host's timing is never the device's: here it is only told, and it passes nothing."""

from __future__ import annotations

import math
from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.report import Check, judge
from edgekit.statistics_paired import median_interval
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.host_timing import host_timing


@final
class LatencyValidator(Validator):
    """Judges median and 95th percentile where the device itself was timed; else `not_run`, with the host's figures."""

    costs: ClassVar[tuple[str, ...]] = ("latency", "latency_p95")

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `latency` and `latency_p95`."""
        timing = host_timing(evidence)
        device = timing if evidence.on_device else None
        if timing is None:
            detail = evidence.why_missing("latency")
        elif device is None:
            detail = f"Not measured on the device. {timing.sentence}"
        else:
            detail = timing.sentence
        band = _median_band(evidence) if device else (None, None)
        return (
            judge(
                "latency",
                device.median_ms if device else None,
                budget.get("latency"),
                low=band[0],
                high=band[1],
                measured_on=evidence.measured_on if timing else "",
                detail=detail,
                runtime=evidence.artifact.runtime,
            ),
            judge(
                "latency_p95",
                device.p95_ms if device else None,
                budget.get("latency_p95"),
                measured_on=evidence.measured_on if timing else "",
                detail=detail,
                runtime=evidence.artifact.runtime,
            ),
        )


def _median_band(evidence: Evidence) -> tuple[float | None, float | None]:
    import numpy as np

    interval = median_interval(np.asarray(evidence.latencies_ms))
    return (interval.low, interval.high) if math.isfinite(interval.low) else (None, None)
