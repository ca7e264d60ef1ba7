"""How much the worst slice of the evaluation data loses: the check that a mean cannot make."""

from __future__ import annotations

from typing import Any, ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.errors import DataError
from edgekit.metrics.joined_outputs import read_joined
from edgekit.metrics.slices import Slices, measure_slices
from edgekit.validators.base import Evidence, Validator

_NO_SLICES: Final = (
    "The evaluation data names no slices and has no class labels. Yield (inputs, target, slice name) from "
    "[data] evaluation in edgekit.toml, or class labels with the metric top1."
)


@final
class SliceValidator(Validator):
    """Judges the largest drop of any slice, with a band that allows for having looked at all of them."""

    costs: ClassVar[tuple[str, ...]] = ("slice_drop",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `slice_drop`."""
        slices, reason = _slices(evidence)
        worst = slices.worst if slices else None
        low, high = slices.band if slices and worst else (None, None)
        return (
            judge(
                "slice_drop",
                worst.drop.value if worst else None,
                budget.get("slice_drop"),
                low=low,
                high=high,
                measured_on=evidence.runtime,
                detail=reason or (slices.sentence if slices else ""),
                runtime=evidence.artifact.runtime,
            ),
        )


def describe_slices(evidence: Evidence) -> list[dict[str, Any]]:
    """Returns every slice with its drop, for reports; empty where there are none."""
    slices, _ = _slices(evidence)
    return slices.to_json() if slices else []


def _slices(evidence: Evidence) -> tuple[Slices | None, str]:
    """Returns the slices, or None and the reason."""
    if evidence.outputs is None or evidence.evaluation is None:
        return None, evidence.why_missing("outputs")
    if evidence.reference is None:
        return None, evidence.why_missing("reference")
    try:
        slices = measure_slices(
            evidence.metric,
            evidence.outputs,
            evidence.reference,
            evidence.evaluation,
            evidence.metric_base,
            read_joined(evidence.artifact.metadata),
        )
    except DataError as error:
        return None, error.message
    return slices, "" if slices else _NO_SLICES
