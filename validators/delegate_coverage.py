"""How much of the work is on an accelerated path: measured for the CPU's, predicted by rules for an accelerator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import ClassVar, final

from edgekit.budget import PATHS, Budget, Limit
from edgekit.checks import Check, judge
from edgekit.validators.accelerator_rules import AcceleratorRules, accelerator_rules
from edgekit.validators.artifact_operators import ArtifactOperator, name_operators, share_of_work
from edgekit.validators.base import Evidence, Validator


@final
class DelegateCoverageValidator(Validator):
    """Judges the share of the multiply-accumulates that the CPU's fast kernels take, and the accelerator's."""

    costs: ClassVar[tuple[str, ...]] = PATHS

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the checks `delegate_coverage` (measured) and `accelerator_coverage` (predicted)."""
        return _measured(evidence, budget), _predicted(evidence, budget)


def _measured(evidence: Evidence, budget: Budget) -> Check:
    value, detail = _delegated(evidence)
    return judge(
        "delegate_coverage",
        value,
        _limit_of(budget, "delegate_coverage", value),
        measured_on=evidence.measured_on if value is not None else "",
        detail=detail,
        runtime=evidence.artifact.runtime,
    )


def _delegated(evidence: Evidence) -> tuple[float | None, str]:
    if not evidence.operators:
        return None, evidence.why_missing("operators")
    listed = [operator for operator in evidence.operators if operator.path is not None]
    if not listed:
        return None, "The runtime does not report what runs where."
    work, all_work = _work(listed), _work(evidence.operators)
    share = share_of_work([operator for operator in work if operator.path], all_work)
    if share is None:
        return None, "It has no operators."
    titles = " and ".join(sorted({operator.path for operator in work if operator.path})) or "no delegate"
    off = [operator for operator in all_work if not operator.path]
    others = [x for x in listed if not x.path and x.arithmetic != "other" and not x.multiplies]
    names = f" Off it: {name_operators(off)}." if off else ""
    # onnxruntime has no delegate: operators that do not multiply have no path there to fall off from.
    small = f" Off it without multiplying: {name_operators(others)}." if others and "XNNPACK" in titles else ""
    return share[0], f"Of {share[1]}, run by {titles}.{names}{small}"


def _predicted(evidence: Evidence, budget: Budget) -> Check:
    value, detail, title = None, "", ""
    if not evidence.accelerator:
        detail = "The device's profile names no accelerator for this format."
    elif not evidence.operators:
        detail = evidence.why_missing("operators")
    else:
        rules = accelerator_rules(evidence.accelerator)
        value, detail = _by_rules(evidence, rules)
        title = f"rules about {rules.title}"
    check = judge(
        "accelerator_coverage",
        value,
        _limit_of(budget, "accelerator_coverage", value),
        basis="predicted",
        measured_on=title,
        detail=detail,
        runtime=evidence.artifact.runtime,
    )
    return replace(check, basis="predicted")


def _by_rules(evidence: Evidence, rules: AcceleratorRules) -> tuple[float | None, str]:
    work = _work(evidence.operators)
    refused: dict[str, list[ArtifactOperator]] = defaultdict(list)
    for operator in evidence.operators:
        reason = rules.why_not(operator)
        if reason is not None and operator.arithmetic != "other":
            refused[reason].append(operator)
    off = {id(operator) for listed in refused.values() for operator in listed}
    share = share_of_work([operator for operator in work if id(operator) not in off], work)
    if share is None:
        return None, "It has no operators."
    names = "".join(f" Not taken ({reason}): {name_operators(listed)}." for reason, listed in refused.items())
    return share[0], f"Predicted by published rules about {rules.title}, of {share[1]}: {rules.caveat}.{names}"


def _work(operators: tuple[ArtifactOperator, ...] | list[ArtifactOperator]) -> list[ArtifactOperator]:
    """Returns the operators that multiply; in a model without any, all that are arithmetic of its own."""
    multiplying = [operator for operator in operators if operator.multiplies]
    return multiplying or [operator for operator in operators if operator.arithmetic != "other"]


def _limit_of(budget: Budget, name: str, value: float | None) -> Limit | None:
    """Returns the limit. A profile's is about formats that have such a path: others are not held against it."""
    return (budget.without_profile_paths() if value is None else budget).get(name)
