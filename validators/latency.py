"""Latency on the device: timed there, else predicted. A host's timing is never the device's: it is only shown."""

from __future__ import annotations

import math
from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.intervals import median_interval
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.host_timing import host_timing


@final
class LatencyValidator(Validator):
    """Judges median and 95th percentile where the device was timed, else what was predicted for it, else `not_run`.

    A prediction whose whole band is beyond the limit fails as a measurement would; one whose band crosses it is
    inconclusive.
    """

    costs: ClassVar[tuple[str, ...]] = ("latency", "latency_p95")

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `latency` and `latency_p95`."""
        timing = host_timing(evidence)
        predicted = None if evidence.on_device and timing else _predicted(evidence, budget)
        device = timing if evidence.on_device else None
        if timing is None:
            detail = evidence.why_missing("latency")
        elif device is None:
            detail = f"Not measured on the device. {timing.sentence}"
        else:
            detail = timing.sentence
        band = _median_band(evidence) if device else (None, None)
        return (
            predicted
            or judge(
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


def _predicted(evidence: Evidence, budget: Budget) -> Check | None:
    """Returns the check of the predicted latency, None where nothing was predicted."""
    prediction = evidence.predicted_latency
    if prediction is None or prediction.value is None:
        return None
    timing = host_timing(evidence)
    return judge(
        "latency",
        prediction.value,
        budget.get("latency"),
        low=prediction.low,
        high=prediction.high,
        basis="predicted",
        measured_on=f"predicted for {evidence.device}",
        detail=f"{prediction.basis[0].upper()}{prediction.basis[1:]}. "
        + (timing.sentence if timing else evidence.why_missing("latency")),
        runtime=evidence.artifact.runtime,
    )


def _median_band(evidence: Evidence) -> tuple[float | None, float | None]:
    import numpy as np

    interval = median_interval(np.asarray(evidence.latencies_ms))
    return (interval.low, interval.high) if math.isfinite(interval.low) else (None, None)
