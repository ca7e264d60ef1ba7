"""How much of the task's metric the artifact loses against the float model, run in its own runtime."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.errors import DataError
from edgekit.intervals import mean_interval, wilson_interval
from edgekit.metrics.drop import Drop
from edgekit.metrics.item_scores import encode_scores
from edgekit.metrics.joined_outputs import read_joined
from edgekit.metrics.measure_drop import measure_drop
from edgekit.metrics.table import against_float
from edgekit.validators.base import Evidence, Validator

_DEFAULTS: Final = ("profile", "demo task")
"""Sources of limits that nobody set for this artifact."""


@final
class AccuracyValidator(Validator):
    """Judges the artifact's own metric, and its drop with a paired interval (see `edgekit.metrics.measure_drop`)."""

    costs: ClassVar[tuple[str, ...]] = ("accuracy", "accuracy_drop")

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `accuracy` and `accuracy_drop`."""
        drop, reason = accuracy_drop(evidence)
        limit = budget.get("accuracy_drop")
        if evidence.reference is None and budget.get("accuracy") and limit and limit.source in _DEFAULTS:
            # Somebody has said how good it must be where nothing can say how good its float model is.
            limit = replace(limit, level="warn")
        return (
            _own_accuracy(drop, reason, evidence, budget),
            judge(
                "accuracy_drop",
                drop.value if drop else None,
                limit,
                low=drop.low if drop else None,
                high=drop.high if drop else None,
                measured_on=evidence.runtime,
                detail=reason or (drop.detail if drop else ""),
                runtime=evidence.artifact.runtime,
            ),
        )


def _own_accuracy(drop: Drop | None, reason: str, evidence: Evidence, budget: Budget) -> Check:
    """Returns the check of the artifact's own metric; its band is known for a mean over items."""
    value = drop.artifact_value if drop else None
    low, high = _band(drop) if drop is not None and value is not None else (None, None)
    return judge(
        "accuracy",
        math.nan if drop is not None and drop.value is not None and math.isnan(drop.value) else value,
        budget.get("accuracy"),
        low=low,
        high=high,
        measured_on=evidence.runtime,
        detail=reason or (drop.detail if drop else ""),
        runtime=evidence.artifact.runtime,
    )


def _band(drop: Drop) -> tuple[float | None, float | None]:
    """Returns the 95 % interval of a mean over items: Wilson's where each is right or wrong, else Student's t."""
    import numpy as np

    if drop.scores is None:
        return None, None
    scores = np.asarray(drop.scores)
    binary = bool(np.isin(scores, (0.0, 1.0)).all())
    found = wilson_interval(int(scores.sum()), len(scores)) if binary else mean_interval(scores)
    interval = found.scaled(100)
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return (interval.low, interval.high) if known else (None, None)


def accuracy_drop(evidence: Evidence) -> tuple[Drop | None, str]:
    """Returns the drop with float's and the artifact's own values, or None and the reason.

    Data that does not fit the metric is a reason and not an error: the other checks of the artifact still count.
    """
    if evidence.outputs is None or evidence.evaluation is None:
        return None, evidence.why_missing("outputs")
    try:
        drop = measure_drop(
            evidence.metric,
            evidence.outputs,
            evidence.reference,
            evidence.evaluation,
            evidence.metric_base,
            joined=read_joined(evidence.artifact.metadata),
        )
    except DataError as error:
        return None, error.message
    return drop, ""


def describe_accuracy(evidence: Evidence) -> dict[str, Any] | None:
    """Returns the artifact's own value of the metric and each item's, for later comparisons; None without one."""
    if evidence.outputs is None or evidence.evaluation is None:
        return None
    # Without the float model's outputs there is nothing to resample, which for some metrics takes long.
    reference = evidence.reference if against_float(evidence.metric) else None
    try:
        drop = measure_drop(
            evidence.metric,
            evidence.outputs,
            reference,
            evidence.evaluation,
            evidence.metric_base,
            joined=read_joined(evidence.artifact.metadata),
        )
    except DataError:
        return None  # the check `accuracy_drop` says why
    value = drop.artifact_value
    return {
        "metric": drop.metric,
        "value": value if value is not None and math.isfinite(value) else None,
        "count": drop.count,
        "items": None if drop.scores is None else encode_scores(drop.scores),
    }
