"""Judging candidates against budgets, and choosing one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.budget import Budget, Limit
from edgekit.checks import Check, judge
from edgekit.formats.practice import Rule, Setting
from edgekit.model import Family
from edgekit.planner.preference import loss_is_unseen, preference_key
from edgekit.planner.rules import LOSS_POINTS, find_rule
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Preference
from edgekit.units import format_value

DEFAULT_LOSS_POINTS: Final = 1.0
"""Loss that is accepted where no budget limits it."""

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
        loss_points: What it is expected to lose, in percentage points: predicted, else the bound of its loss class.
        too_lossy: That is more than the accuracy budget allows.
        unseen: The task's metric could not tell it from the float model.
        warned: Tier over the limits of level "warn".
        slowness: Speed class where latency is limited and cannot be predicted, else 0.
        key: Smaller is better.
    """

    candidate: Candidate
    checks: tuple[Check, ...]
    tier: int
    loss: Rule
    speed: Rule
    preference: int
    loss_points: float
    too_lossy: bool
    unseen: bool
    warned: int
    slowness: int
    key: tuple[float, ...]

    @property
    def bound_points(self) -> float:
        """What practice says that the recipe and the techniques before it stay under, in percentage points."""
        return _bound(self.candidate, self.loss)

    @property
    def loss_reason(self) -> str:
        """Why it loses what it loses; a clause."""
        names = [step.technique for step in self.candidate.techniques]
        if not names or not self.candidate.technique_points:
            return self.loss.reason
        words = f"{' and '.join(names)} may cost {self.candidate.technique_points:g} points"
        return f"{words}, and {self.loss.reason}" if self.loss.rank else words

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks of level "error" that fail."""
        return tuple(check for check in self.checks if check.verdict == "fail" and check.level == "error")


def judge_candidates(
    candidates: Sequence[Candidate],
    budget: Budget,
    profile: DeviceProfile,
    family: Family,
    formats: Sequence[str],
    prefer: Preference = "balanced",
) -> tuple[Judged, ...]:
    """Returns the candidates held against the budget, the best first.

    The order: keeps every known budget for certain, then likely; is not expected to lose more accuracy than is allowed;
    does not miss a limit that only warns; the format that is preferred; keeps the limits that only warn for certain;
    where latency is limited and cannot be predicted, what practice knows to be faster; then what the user prefers (see
    `preference`). Where size or speed is preferred, the format comes after it.
    """
    judged = [_judge(candidate, budget, profile, family, formats, prefer) for candidate in candidates]
    return tuple(sorted(judged, key=lambda item: item.key))


def _judge(
    candidate: Candidate,
    budget: Budget,
    profile: DeviceProfile,
    family: Family,
    formats: Sequence[str],
    prefer: Preference,
) -> Judged:
    checks = check_candidate(candidate, budget)
    setting = Setting(
        family=family, runtime=candidate.runtime, device_kind=profile.kind, features=profile.hardware.features
    )
    loss = find_rule("loss", candidate.recipe.default, setting)
    speed = find_rule("speed", candidate.recipe.default, setting)
    tier = max((_tier(check, budget, candidate) for check in checks if check.level == "error"), default=KEPT)
    warned = max((_tier(check, budget, candidate) for check in checks if check.level == "warn"), default=KEPT)
    preference = formats.index(candidate.runtime) if candidate.runtime in formats else len(formats)
    slowness = speed.rank if is_blind(checks) else 0
    points, too_lossy = _expected_loss(candidate, loss, budget)
    first, last = preference_key(prefer, candidate, points=points, loss=loss, speed=speed, place=preference)
    return Judged(
        candidate=candidate,
        checks=checks,
        tier=tier,
        loss=loss,
        speed=speed,
        preference=preference,
        loss_points=points,
        too_lossy=too_lossy,
        unseen=loss_is_unseen(candidate, loss),
        warned=warned,
        slowness=slowness,
        key=(
            tier,
            too_lossy,
            warned >= UNLIKELY,
            *first,
            warned,
            slowness,
            *last,
        ),
    )


def is_blind(checks: Sequence[Check]) -> bool:
    """Returns True if latency is limited and nothing can be said about it: then what practice knows decides."""
    limited = [check for check in checks if check.name in LATENCIES and check.limit is not None]
    return bool(limited) and all(check.value is None for check in limited)


def _expected_loss(candidate: Candidate, rule: Rule, budget: Budget) -> tuple[float, bool]:
    """Returns the expected loss in points, and whether it is more than the budget allows, or than 1 without one."""
    limit = budget.get("accuracy_drop")
    bound = _bound(candidate, rule)
    found = candidate.prediction("accuracy_drop")
    if found is None or found.value is None:
        return bound, bound > (limit.value if limit else DEFAULT_LOSS_POINTS)
    if found.evidence == "expected" and limit is None:
        return found.value, bound > DEFAULT_LOSS_POINTS
    return found.value, found.value > (limit.value if limit else DEFAULT_LOSS_POINTS)


def _bound(candidate: Candidate, rule: Rule) -> float:
    return LOSS_POINTS[rule.rank] + candidate.technique_points


def _tier(check: Check, budget: Budget, candidate: Candidate) -> int:
    """Returns the tier of one check. What is free or is not known rejects nothing."""
    limit = budget.get(check.name)
    if limit is None or check.verdict in ("not_run", "pass") or check.value is None:
        return KEPT
    if check.verdict == "inconclusive":
        prediction = candidate.prediction(check.name)
        if prediction is not None and prediction.evidence == "expected":
            # What other models lost says little about this one: it decides between equals and rejects nothing.
            return KEPT
        if prediction is not None and prediction.evidence == "simulated" and limit.keeps(check.value):
            # Calibration data is small, and its band wide even where nothing was lost: that is no reason to leave the
            # preferred format. The export measures it on the evaluation data.
            return KEPT
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
                # `--effort thorough` has run the finalists: of those it is no prediction any more.
                basis="measured" if item.evidence == "measured" else "predicted",
                detail=item.basis,
                runtime=candidate.runtime,
            )
        )
    return tuple(checks)


def excess_words(check: Check, limit: Limit) -> str:
    """Returns `size 18.6 MB exceeds 6 MB (--max-size) by 12.6 MB`."""
    value = check.value if check.value is not None else math.nan
    relation = "exceeds" if limit.excess(value) >= 0 and value > limit.value else "is under"
    name = check.name.replace("_", " ")
    return (
        f"{name} {format_value(value, check.unit)} {relation} {format_value(limit.value, check.unit)} ({limit.source}) "
        f"by {format_value(abs(limit.excess(value)), check.unit)}"
    )


def relative_excess(check: Check, limit: Limit) -> float:
    """Returns by what share of the limit a check misses it; infinite for a limit of 0 and for a value of NaN."""
    value = check.value if check.value is not None else math.nan
    share = limit.excess(value) / abs(limit.value) if limit.value else math.inf
    return share if math.isfinite(share) else math.inf
