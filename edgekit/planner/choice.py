"""Judging candidates against budgets, and choosing one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.budget import Budget, Limit
from edgekit.device_profile import DeviceProfile
from edgekit.model import Family
from edgekit.plan import Candidate
from edgekit.planner.rules import LOSS_POINTS, Rule, Setting, find_rule
from edgekit.report import Check, judge
from edgekit.units import format_value

SHOWN: Final = ("size", "download", "memory", "latency", "accuracy_drop")
"""Costs that a plan shows even where nobody limits them."""

LATENCIES: Final = ("latency", "latency_p95")

KEPT, LIKELY, UNLIKELY, BROKEN = range(4)
"""Tiers: every known budget kept; a band straddles a limit and the value keeps it; the value misses it; broken."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate held against a budget.

    Attributes:
        candidate: What was judged.
        checks: One for each cost that is limited or shown.
        tier: KEPT, LIKELY, UNLIKELY or BROKEN, over the limits of level "error".
        loss: The rule about its accuracy.
        speed: The rule about its speed.
        preference: Place of its format in the order of preference.
        key: Smaller is better.
    """

    candidate: Candidate
    checks: tuple[Check, ...]
    tier: int
    loss: Rule
    speed: Rule
    preference: int
    key: tuple[int, ...]

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks of level "error" that fail."""
        return tuple(check for check in self.checks if check.verdict == "fail" and check.level == "error")


def judge_candidates(
    candidates: Sequence[Candidate], budget: Budget, profile: DeviceProfile, family: Family, formats: Sequence[str]
) -> tuple[Judged, ...]:
    """Returns the candidates held against the budget, the best first.

    The order: keeps every known budget for certain, then likely; the format that is preferred; what keeps a limit on
    latency that only warns, or, where it is limited and cannot be predicted, what practice knows to be faster; then
    the least expected loss of accuracy. What usually loses more than the accuracy budget allows stands behind what does
    not.
    """
    judged = [_judge(candidate, budget, profile, family, formats) for candidate in candidates]
    return tuple(sorted(judged, key=lambda item: item.key))


def _judge(
    candidate: Candidate, budget: Budget, profile: DeviceProfile, family: Family, formats: Sequence[str]
) -> Judged:
    checks = check_candidate(candidate, budget)
    setting = Setting(
        family=family, runtime=candidate.runtime, device_kind=profile.kind, features=profile.hardware.features
    )
    loss = find_rule("loss", candidate.recipe.default, setting)
    speed = find_rule("speed", candidate.recipe.default, setting)
    tier = max((_tier(check, budget.get(check.name)) for check in checks), default=KEPT)
    preference = formats.index(candidate.runtime) if candidate.runtime in formats else len(formats)
    too_lossy = not keeps_accuracy(loss, budget)
    return Judged(
        candidate=candidate,
        checks=checks,
        tier=tier,
        loss=loss,
        speed=speed,
        preference=preference,
        key=(tier, int(too_lossy), preference, _pace(checks, budget, speed), loss.rank),
    )


def is_blind(checks: Sequence[Check]) -> bool:
    """Returns True if latency is limited and nothing can be said about it: then what practice knows decides."""
    limited = [check for check in checks if check.name in LATENCIES and check.limit is not None]
    return bool(limited) and all(check.value is None for check in limited)


def _pace(checks: Sequence[Check], budget: Budget, speed: Rule) -> int:
    """Returns how badly a candidate does on latency, 0 where it is free.

    A limit that only warns turns nothing down, but among what keeps the rest the one that keeps it comes first.
    """
    if is_blind(checks):
        return speed.rank
    limits = ((check, budget.get(check.name)) for check in checks if check.name in LATENCIES)
    return max((_standing(check, limit) for check, limit in limits if limit is not None), default=KEPT)


def keeps_accuracy(loss: Rule, budget: Budget) -> bool:
    """Returns True if what a precision usually loses keeps the accuracy budget, or is at most 1 point without one."""
    limit = budget.get("accuracy_drop")
    return LOSS_POINTS[loss.rank] <= (limit.value if limit else 1.0)


def _tier(check: Check, limit: Limit | None) -> int:
    """Returns the tier of one check. What only warns, is free or is not known turns nothing down."""
    return KEPT if limit is None or limit.level != "error" else _standing(check, limit)


def _standing(check: Check, limit: Limit) -> int:
    """Returns how a check stands to its limit, whatever the limit's level; what is not known counts as kept."""
    if check.verdict in ("not_run", "pass") or check.value is None:
        return KEPT
    if check.verdict == "inconclusive":
        return LIKELY if limit.keeps(check.value) else UNLIKELY
    return BROKEN


def check_candidate(candidate: Candidate, budget: Budget) -> tuple[Check, ...]:
    """Returns one check for each cost that is limited or in SHOWN, in the order of the predictions."""
    checks: list[Check] = []
    for item in candidate.predictions:
        limit = budget.get(item.name)
        if limit is None and item.name not in SHOWN:
            continue
        checks.append(
            judge(
                item.name,
                item.value,
                limit,
                low=item.low,
                high=item.high,
                basis="predicted",
                detail=item.basis,
                runtime=candidate.runtime,
            )
        )
    return tuple(checks)


def excess_words(check: Check, limit: Limit) -> str:
    """Returns `size 18.6 MB exceeds 6 MB (--max-size) by 12.6 MB`."""
    value = check.value if check.value is not None else math.nan
    verb = "exceeds" if limit.excess(value) >= 0 and value > limit.value else "is under"
    name = check.name.replace("_", " ")
    return (
        f"{name} {format_value(value, check.unit)} {verb} {format_value(limit.value, check.unit)} ({limit.source}) "
        f"by {format_value(abs(limit.excess(value)), check.unit)}"
    )


def relative_excess(check: Check, limit: Limit) -> float:
    """Returns by what share of the limit a check misses it; infinite for a limit of 0 and for a value of NaN."""
    value = check.value if check.value is not None else math.nan
    share = limit.excess(value) / abs(limit.value) if limit.value else math.inf
    return share if math.isfinite(share) else math.inf
