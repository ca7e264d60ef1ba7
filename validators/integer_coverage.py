"""Integer coverage: how much of the work that was requested in integers really runs in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, final

from edgekit.budget import RECIPE_SOURCE, Budget, Limit
from edgekit.checks import Check, judge
from edgekit.validators.artifact_operators import ArtifactOperator, name_operators, share_of_work
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.requested import Requested, coverage

_WHOLE: Final = 100.0


@final
class IntegerCoverageValidator(Validator):
    """Judges the share of the multiply-accumulates.

    Where integers were requested, all of it is the limit, unless a budget names another one.
    """

    costs: ClassVar[tuple[str, ...]] = ("integer_coverage",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `integer_coverage`."""
        requested = evidence.requested
        wants = requested is None or requested.wants_integers
        value, detail = _coverage(evidence) if wants else (None, "No operator was requested in integers.")
        limit = budget.get("integer_coverage")
        if limit is None and requested is not None and requested.wants_integers and requested.knows_layers:
            limit = Limit(name="integer_coverage", value=_WHOLE, source=RECIPE_SOURCE)
        if limit is not None and limit.source == RECIPE_SOURCE and value is None and evidence.operators:
            limit = None  # nothing multiplies, so nothing can be missing
        return (
            judge(
                "integer_coverage",
                value,
                limit,
                measured_on=evidence.runtime if value is not None else "",
                detail=detail,
                runtime=evidence.artifact.runtime,
            ),
        )


def _coverage(evidence: Evidence) -> tuple[float | None, str]:
    """Returns the share in percent and the sentence about it, or None and the reason."""
    if not evidence.operators:
        return None, evidence.why_missing("operators")
    listed = [operator for operator in evidence.operators if operator.multiplies]
    requested = evidence.requested
    planned: dict[str, list[ArtifactOperator]] = {}
    if requested is None:
        wanted, missing = listed, [operator for operator in listed if not operator.in_integers]
    else:
        wanted, missing, planned = coverage(listed, requested, evidence.artifact.runtime)
    share = share_of_work([operator for operator in wanted if operator not in missing], wanted)
    by_plan = "".join(f" In float by plan: {name_operators(items)}, because {why}." for why, items in planned.items())
    if share is None:
        return None, f"No operator that multiplies was requested in integers.{by_plan}"
    return share[0], _sentence(share[1], wanted, missing, requested) + by_plan + evidence.operators_from


def _sentence(
    counted: str, wanted: Sequence[ArtifactOperator], missing: Sequence[ArtifactOperator], requested: Requested | None
) -> str:
    if requested is None:
        names = f" In float: {name_operators(missing)}." if 0 < len(missing) < len(wanted) else ""
        return f"Of {counted}. Nothing says which of it was requested in integers.{names}"
    if not requested.knows_layers:
        names = f" In float: {name_operators(missing)}." if missing else ""
        return f"Of {counted}. Some layers were meant to be float: give the model to tell which.{names}"
    if missing:
        return f"Of {counted} requested in integers. In float: {name_operators(missing)}."
    late = [operator for operator in wanted if operator.arithmetic == "dynamic"]
    if requested.recipe.default == "int8_static" and late:
        return f"Of {counted} requested in integers. Grids chosen at run time: {name_operators(late)}."
    return f"As requested: all of {counted}."
