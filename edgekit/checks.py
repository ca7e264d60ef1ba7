"""Reports: a list of checks, and what they mean together.

Fail closed: what was not measured does not pass, NaN does not pass, a report without checks does not pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from edgekit.budget import Budget, Level, Limit, cost_of

Verdict = Literal["pass", "fail", "inconclusive", "not_run"]
Basis = Literal["predicted", "measured", "imported"]
ShownVerdict = Literal["pass", "warn", "fail", "inconclusive", "not measured"]
"""What a person reads: `warn` is a limit of level `warn` that was missed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure held against one limit.

    Attributes:
        name: A key of `budget.COSTS`, or the change of such a cost against a baseline (see `budget.CHANGES`).
        verdict: `inconclusive` where the band straddles the limit; `not_run` where there is no figure.
        value: The figure in `unit`, None where it was not measured.
        limit: The limit in `unit`, None where the cost is free (then it is shown and passes).
        unit: As in `budget.COSTS`.
        basis: Whether the figure was predicted, measured or imported.
        low: Lower end of the figure's band (95 % confidence where measured), None where it is exact.
        high: Upper end of the band.
        measured_on: What was measured: `file`, `host: AMD EPYC`, `Core ML evaluator`, a device's name.
        limit_from: Who set the limit; without a limit, who waived it.
        level: What a failure does to the gate.
        detail: One sentence for a person: the sample count, the reason for not_run, the worst output.
        runtime: The artifact's runtime, where the check is about one artifact.
    """

    name: str
    verdict: Verdict
    value: float | None = None
    limit: float | None = None
    unit: str
    basis: Basis = "measured"
    low: float | None = None
    high: float | None = None
    measured_on: str = ""
    limit_from: str = ""
    level: Level = "error"
    detail: str = ""
    runtime: str = ""

    @property
    def fails_gate(self) -> bool:
        """True if this check alone makes the gate fail (without `--strict`)."""
        return self.level == "error" and self.verdict in ("fail", "not_run")

    @property
    def is_waived(self) -> bool:
        """True if somebody has said that this check is shown and not judged."""
        return self.limit is None and bool(self.limit_from)

    @property
    def shown_as(self) -> ShownVerdict:
        """The verdict in the word that every table, report and message shows."""
        if self.verdict == "not_run":
            return "not measured"
        return "warn" if self.verdict == "fail" and self.level == "warn" else self.verdict

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on. Non-finite values are null: JSON has no NaN."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "shown_as": self.shown_as,
            "value": _finite(self.value),
            "limit": _finite(self.limit),
            "unit": self.unit,
            "basis": self.basis,
            "low": _finite(self.low),
            "high": _finite(self.high),
            "measured_on": self.measured_on,
            "limit_from": self.limit_from,
            "level": self.level,
            "detail": self.detail,
            "runtime": self.runtime,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Check:
        """Returns the check that `to_json` wrote; keys of a later edgekit are passed over."""
        return Check(**{key: data[key] for key in Check.__dataclass_fields__ if key in data})


def judge(
    name: str,
    value: float | None,
    limit: Limit | None,
    *,
    low: float | None = None,
    high: float | None = None,
    basis: Basis = "measured",
    measured_on: str = "",
    detail: str = "",
    runtime: str = "",
) -> Check:
    """Returns the check of one figure against one limit.

    A figure without a limit passes. None (not measured) and NaN do not pass. With a band, the verdict is `pass` where
    the whole band keeps the limit, `fail` where none of it does, else `inconclusive`.
    """
    cost = cost_of(name)
    verdict: Verdict
    if value is None:
        verdict = "not_run"
    elif math.isnan(value) or (low is not None and math.isnan(low)) or (high is not None and math.isnan(high)):
        verdict = "fail"
    elif limit is None:
        verdict = "pass"
    else:
        kept = [limit.keeps(end) for end in (value, low, high) if end is not None]
        verdict = "pass" if all(kept) else "inconclusive" if any(kept) else "fail"
    return Check(
        name=name,
        verdict=verdict,
        value=value,
        limit=limit.value if limit else None,
        unit=cost.unit,
        basis=basis,
        low=low,
        high=high,
        measured_on=measured_on,
        limit_from=limit.source if limit else "",
        # A cost that nobody limits cannot fail a build, unless its figure is not a number: then something is broken.
        level=limit.level if limit else "error" if verdict == "fail" else "warn",
        detail=detail,
        runtime=runtime,
    )


def complete(checks: Iterable[Check], budget: Budget, runtime: str) -> tuple[Check, ...]:
    """Returns `checks` and, for each limit that none of them is about, one that was not measured.

    A limit never vanishes, and neither does who waived one: it stands where the limit's source would.
    """
    checks = tuple(
        replace(check, limit_from=budget.waiver(check.name)) if check.limit is None else check for check in checks
    )
    there = {check.name for check in checks}
    open_limits = [limit for limit in budget.limits if limit.name not in there]
    detail = "Nothing measures it yet."
    return (*checks, *(judge(limit.name, None, limit, detail=detail, runtime=runtime) for limit in open_limits))


def passed(checks: Iterable[Check], *, strict: bool = False) -> bool:
    """Returns the gate's verdict over `checks`: no error-level failure, and at least one check.

    Args:
        checks: All checks of the report.
        strict: `inconclusive` fails too, and warnings fail as errors do.
    """
    checks = list(checks)
    if not checks:
        return False
    if strict and any(check.verdict != "pass" for check in checks if check.limit is not None):
        return False
    return not any(check.fails_gate for check in checks)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
