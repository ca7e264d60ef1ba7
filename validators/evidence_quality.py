"""Whether the data can show anything at all: evidence that cannot fail proves nothing.

Named flaws: one item, one label for all, a float model or an artifact that answers the same to everything, and an
evaluation so small that it sees nothing of the size of its limit. Each fails unless the user waives it by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.metrics.table import against_float
from edgekit.samples import Samples
from edgekit.units import format_points
from edgekit.validators.accuracy import accuracy_drop
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.floors import sound_limit

MANY_TIMES: Final = 10.0
"""An evaluation whose smallest visible drop is more than this many times the limit cannot judge that limit."""

FEWEST_CALLS: Final = 16
"""A model with states is judged on at least one sequence of so many calls."""


@final
class EvidenceValidator(Validator):
    """Counts the flaws of the evidence."""

    costs: ClassVar[tuple[str, ...]] = ("evidence",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `evidence`."""
        runtime = evidence.artifact.runtime
        if evidence.evaluation is None or evidence.outputs is None:
            # Without data the check of accuracy says so; with data, outputs must have come of it.
            limit = budget.get_or(sound_limit("evidence", ())) if evidence.evaluation is not None else None
            return (judge("evidence", None, limit, detail=evidence.why_missing("outputs"), runtime=runtime),)
        flaws = list(_flaws(evidence, evidence.evaluation, budget))
        waiver = f" Waived by {budget.waiver('evidence')}." if flaws and budget.waiver("evidence") else ""
        detail = " ".join(flaws) or f"{evidence.evaluation.items} items, with answers that differ."
        return (
            judge(
                "evidence",
                len(flaws),
                budget.get_or(sound_limit("evidence", ())),
                measured_on="data",
                detail=detail + waiver,
                runtime=runtime,
            ),
        )


def _flaws(evidence: Evidence, evaluation: Samples, budget: Budget) -> Iterator[str]:
    if evaluation.items == 1:
        yield "The evaluation has one item: give more, or nothing can be distinguished from luck."
        return
    targets = evaluation.targets()
    if targets is not None and not against_float(evidence.metric) and bool((targets == targets[:1]).all()):
        yield f"All {evaluation.items} items have the same label: give items of several."
    if evidence.reference is not None and _is_constant(evidence.reference):
        yield f"The float model gives the same outputs on all {evidence.reference.count} rows: give data that moves it."
    if evidence.outputs is not None and _is_constant(evidence.outputs):
        yield f"The artifact gives the same outputs on all {evidence.outputs.count} rows."
    longest = max(evaluation.sequence_lengths(), default=FEWEST_CALLS)
    if evidence.artifact.states and longest < FEWEST_CALLS:
        yield (
            f"The model has states, and the longest sequence has {longest} calls: give one of at least {FEWEST_CALLS}, "
            "or errors that add up from call to call stay unseen."
        )
    yield from _blind(evidence, budget)


def _is_constant(samples: Samples) -> bool:
    """Returns True where no output differs from its first row anywhere; stops at the first row that does."""
    import numpy as np

    return samples.count > 1 and all(
        np.array_equal(array[0], row, equal_nan=array.dtype.kind == "f") for array in samples.arrays() for row in array
    )


def _blind(evidence: Evidence, budget: Budget) -> Iterator[str]:
    limit = budget.get("accuracy_drop")
    drop, _ = accuracy_drop(evidence)
    if limit is None or limit.value <= 0 or drop is None or drop.detectable is None:
        return
    if drop.detectable > MANY_TIMES * limit.value:
        yield (
            f"The smallest drop that {drop.count} items can show is {format_points(drop.detectable)}, more than "
            f"{MANY_TIMES:.0f} times the limit of {format_points(limit.value)}: give more items."
        )
