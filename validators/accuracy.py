"""How much of the task's metric the artifact loses against the float model, run in its own runtime."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.errors import DataError
from edgekit.metrics.drop import Drop
from edgekit.metrics.item_scores import encode_scores
from edgekit.metrics.measure_drop import measure_drop
from edgekit.metrics.table import against_float
from edgekit.validators.base import Evidence, Validator


@final
class AccuracyValidator(Validator):
    """Judges the drop with its paired confidence interval (see `edgekit.metrics.measure_drop`)."""

    costs: ClassVar[tuple[str, ...]] = ("accuracy_drop",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `accuracy_drop`."""
        drop, reason = accuracy_drop(evidence)
        return (
            judge(
                "accuracy_drop",
                drop.value if drop else None,
                budget.get("accuracy_drop"),
                low=drop.low if drop else None,
                high=drop.high if drop else None,
                measured_on=evidence.runtime,
                detail=reason or (drop.detail if drop else ""),
                runtime=evidence.artifact.runtime,
            ),
        )


def accuracy_drop(evidence: Evidence) -> tuple[Drop | None, str]:
    """Returns the drop with float's and the artifact's own values, or None and the reason.

    Data that does not fit the metric is a reason and not an error: the other checks of the artifact still count.
    """
    if evidence.outputs is None or evidence.evaluation is None:
        return None, evidence.why_missing("outputs")
    try:
        drop = measure_drop(
            evidence.metric, evidence.outputs, evidence.reference, evidence.evaluation, evidence.metric_base
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
        drop = measure_drop(evidence.metric, evidence.outputs, reference, evidence.evaluation, evidence.metric_base)
    except DataError:
        return None  # the check `accuracy_drop` says why
    value = drop.artifact_value
    return {
        "metric": drop.metric,
        "value": value if value is not None and math.isfinite(value) else None,
        "count": drop.count,
        "items": None if drop.scores is None else encode_scores(drop.scores),
    }
