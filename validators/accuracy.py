"""How much of the task's metric the artifact loses against the float model, run in its own runtime."""

from __future__ import annotations

from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.errors import DataError
from edgekit.metrics import Drop, measure_drop
from edgekit.report import Check, judge
from edgekit.validators.base import Evidence, Validator


@final
class AccuracyValidator(Validator):
    """Judges the drop with its paired confidence interval (see `edgekit.metrics`)."""

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
