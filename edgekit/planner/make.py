"""From a model and a device to a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from edgekit.analysis.graph import Analysis
from edgekit.budget import COSTS, Budget, Level, Limit
from edgekit.checks import Check
from edgekit.model import CapturedModel
from edgekit.planner.candidates import WhyNot, make_candidates, with_predictions
from edgekit.planner.choice import (
    BROKEN,
    KEPT,
    UNLIKELY,
    Judged,
    excess_words,
    is_blind,
    judge_candidates,
    relative_excess,
)
from edgekit.planner.float_layers import float_layers
from edgekit.planner.offers import Situation, TechniqueOffer, pipelines
from edgekit.planner.plan import ModelFacts, Plan, RunnerUp
from edgekit.planner.rules import HINTS, SPEED_WORDS
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Prediction, Preference, Recipe, Rejection
from edgekit.units import format_value

_SHOWN_RUNNERS_UP: Final = 3
_FLAGS: Final = {
    "size": "--max-size",
    "download": "--max-download",
    "memory": "--max-memory",
    "latency": "--max-latency",
    "accuracy_drop": "--max-drop",
}


Refinement = Callable[[tuple[Candidate, ...]], tuple[Candidate, ...]]
"""Given the candidates, returns them with better predictions, and others that were found on the way."""


def nothing_refined(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """A `Refinement` for plans that only predict."""
    return candidates


def nothing_refused(runtime: str, recipe: Recipe) -> str | None:
    """A `WhyNot` for sources that can become anything."""
    del runtime, recipe
    return None


def make_plan(
    model: CapturedModel,
    analysis: Analysis,
    profile: DeviceProfile,
    budget: Budget,
    *,
    formats: Sequence[str] = (),
    precision: str | None = None,
    why_not: WhyNot = nothing_refused,
    has_calibration: bool = True,
    has_training: bool = False,
    offers: Sequence[TechniqueOffer] = (),
    refine: Refinement = nothing_refined,
    prefer: Preference = "balanced",
) -> Plan:
    """Returns what to do for a device. Pure arithmetic, unless `refine` runs something.

    Args:
        model: The captured model.
        analysis: Its costed graph.
        profile: The device.
        budget: The limits in force.
        formats: Formats that the user forces; empty lets the profile's order of runtimes decide.
        precision: A preset that the user forces; None lets the planner choose.
        why_not: Says why the source cannot become a format with a recipe.
        has_calibration: The task has calibration data.
        has_training: The task has training data.
        offers: Techniques that change the float model.
        refine: Measures what the arithmetic can only guess.
        prefer: What decides among candidates that fit.

    Raises:
        UsageError: no such preset.
    """
    order = tuple(formats) or profile.runtimes
    situation = Situation(
        analysis=analysis, profile=profile, has_calibration=has_calibration, has_training=has_training
    )
    before, refused_offers = pipelines(offers, situation, budget)
    found = make_candidates(situation, formats=order, precision=precision, why_not=why_not, pipelines=before)
    judged = judge_candidates(refine(found.possible), budget, profile, analysis.family, order, prefer)
    best = judged[0] if judged else None
    if best is not None and best.tier == BROKEN:
        best = min(judged, key=lambda item: (_distance(item, budget), item.key[1:]))
    feasible = best is not None and best.tier < BROKEN
    others = [item for item in judged if item is not best]
    runners_up = [item for item in others if item.tier < BROKEN][:_SHOWN_RUNNERS_UP] if feasible else []
    return Plan(
        prefer=prefer,
        model=_facts(model, analysis),
        device=profile.name,
        device_title=profile.title,
        limits=budget.limits,
        feasible=feasible,
        chosen=best.candidate if best else None,
        reasons=_reasons(best, judged, budget, profile, prefer, forced=bool(formats) or precision is not None)
        if best
        else (),
        checks=best.checks if best else (),
        baseline=_baseline(best.candidate, analysis, profile) if best else (),
        runners_up=tuple(
            RunnerUp(candidate=item.candidate, reason=_why_behind(item, best, budget, profile, prefer))
            for item in runners_up
            if best is not None
        ),
        rejected=(*_rejections(best, others, runners_up, budget, profile, prefer), *found.refused, *refused_offers),
        misses=tuple(_words(check, budget) for check in best.broken) if best and not feasible else (),
        remedies=_remedies(judged, budget) if not feasible else (),
        warnings=_warnings(best, budget, profile, analysis),
        considered=tuple(item.candidate for item in judged),
    )


def _facts(model: CapturedModel, analysis: Analysis) -> ModelFacts:
    return ModelFacts(
        name=model.name,
        source=model.source,
        digest=model.digest,
        parameters=model.parameters,
        macs=model.macs if model.macs is not None else analysis.macs,
        family=analysis.family,
        family_evidence=analysis.family_evidence,
        embedded_default=model.embedded_default,
    )


def _baseline(candidate: Candidate, analysis: Analysis, profile: DeviceProfile) -> tuple[Prediction, ...]:
    """Returns what the float model costs in the same runtime."""
    plain = Candidate(runtime=candidate.runtime, recipe=Recipe(default="fp32"))
    return with_predictions(plain, analysis, profile).predictions


def _limit(check: Check, budget: Budget) -> Limit:
    limit = budget.get(check.name)
    if limit is None:
        raise LookupError(f"{check.name} fails without a limit.")
    return limit


def _words(check: Check, budget: Budget) -> str:
    return excess_words(check, _limit(check, budget))


def _distance(item: Judged, budget: Budget) -> float:
    """Returns by what share the candidate misses the budget that it misses most."""
    return max((relative_excess(check, _limit(check, budget)) for check in item.broken), default=0.0)


def _reasons(
    best: Judged,
    judged: Sequence[Judged],
    budget: Budget,
    profile: DeviceProfile,
    prefer: Preference,
    *,
    forced: bool,
) -> tuple[str, ...]:
    """Returns why this candidate and no other, sentences without a full stop."""
    if best.tier == BROKEN:
        return ("nothing keeps every budget; this comes nearest",)
    reasons = [
        "keeps every budget that can be predicted" if best.tier == KEPT else "may keep every budget: see the bands"
    ]
    if best.warned >= UNLIKELY:
        reasons.append(f"misses a limit that only warns: {_missed_words(best, budget)}")
    if not forced and best.candidate.runtime == profile.runtimes[0]:
        reasons.append(f"{best.candidate.runtime} is {profile.name}'s preferred runtime")
    latency = budget.get("latency") or budget.get("latency_p95")
    if latency is not None and is_blind(best.checks) and best.speed.rank < 2:
        reasons.append(
            f"latency is limited to {format_value(latency.value, 'ms')} and cannot be predicted here, so what practice "
            f"knows to be faster comes first: {best.speed.reason}"
        )
    reasons += _preference_words(best, [item for item in judged if item.tier < BROKEN], prefer)
    if best.bound_points > 0:
        reasons.append(f"expected loss {loss_words(best)}: {best.loss_reason}")
    return tuple(reasons)


def _preference_words(best: Judged, fitting: Sequence[Judged], prefer: Preference) -> list[str]:
    """Returns why it comes before the others that fit; clauses, empty where there is no other or nothing to say."""
    others = [item for item in fitting if item is not best]
    if not others:
        return []
    if prefer in ("size", "speed"):
        word, name = ("smallest", "size") if prefer == "size" else ("fastest", "latency")
        found = [item.candidate.prediction(name) for item in fitting]
        known = all(prediction is not None and prediction.value is not None for prediction in found)
        return [f"of those that fit it is the {word}" + ("" if known else ", as far as that is predicted")]
    if best.loss_points > 0 and all(item.loss_points >= best.loss_points for item in others):
        return ["of those that fit it is expected to lose the least accuracy"]
    more_exact = [i for i in others if i.preference == best.preference and i.loss_points < best.loss_points]
    if not more_exact:
        return []
    exact = min(more_exact, key=lambda item: item.loss_points)
    return [f"its loss is not expected to show, and it has {_ratio_words(best, exact)} of {exact.candidate.title}"]


def _ratio_words(item: Judged, other: Judged) -> str:
    """Returns `0.28 x the size and 0.4 x the latency`."""
    words: list[str] = []
    for name in ("size", "latency"):
        mine, theirs = item.candidate.prediction(name), other.candidate.prediction(name)
        if mine and theirs and mine.value and theirs.value:
            words.append(f"{mine.value / theirs.value:.2g} x the {name}")
    return " and ".join(words) or "costs that are not known"


def loss_words(item: Judged) -> str:
    """Returns `0.64 pp` where the loss is predicted, else `usually under 1 point`."""
    found = item.candidate.prediction("accuracy_drop")
    if found is not None and found.value is not None:
        word = "" if found.evidence == "expected" else f" ({found.evidence})"
        return format_value(found.value, found.unit) + word
    points = item.bound_points
    return "none" if points == 0 else f"usually under {points:g} point{'' if points == 1 else 's'}"


def _why_behind(item: Judged, best: Judged, budget: Budget, profile: DeviceProfile, prefer: Preference) -> str:
    """Returns why a candidate that keeps the known budgets stands behind the best one."""
    if item.tier > best.tier:
        return _inconclusive_words(item, "error", item.tier)
    if item.too_lossy and not best.too_lossy:
        return f"{_too_lossy_words(item, budget)}: {item.loss_reason}"
    if item.warned >= UNLIKELY > best.warned:
        return _missed_words(item, budget)
    if item.preference > best.preference and prefer in ("accuracy", "balanced"):
        return f"{profile.name} prefers {best.candidate.runtime}"
    if item.warned > best.warned:
        return _missed_words(item, budget)
    if item.slowness > best.slowness:
        return f"runs {SPEED_WORDS[item.speed.rank]}: {item.speed.reason}"
    if prefer in ("size", "speed"):
        return f"it has {_ratio_words(item, best)} of {best.candidate.title}"
    if prefer == "balanced" and item.unseen and best.unseen:
        return f"no loss is expected to show in either, and it has {_ratio_words(item, best)} of {best.candidate.title}"
    ratio, least = (x.candidate.prediction("parity") for x in (item, best))
    if item.loss_points == best.loss_points and ratio and least and ratio.value and least.value:
        return (
            f"loses no more, but its outputs are {format_value(ratio.value, 'dB')} from float's and the chosen one's "
            f"{format_value(least.value, 'dB')}"
        )
    return f"expected to lose more accuracy ({loss_words(item)}): {item.loss_reason}"


def _inconclusive_words(item: Judged, level: Level, tier: int) -> str:
    """Returns `its band of size and memory crosses the limit, the value is beyond it`."""
    inconclusive = [c for c in item.checks if c.verdict == "inconclusive" and c.level == level and c.limit is not None]
    names = " and ".join(c.name.replace("_", " ") for c in inconclusive)
    return f"its band of {names} crosses the limit" + (", the value is beyond it" if tier == UNLIKELY else "")


def _missed_words(item: Judged, budget: Budget) -> str:
    """Returns what a candidate misses of the limits that only warn."""
    if item.warned < BROKEN:
        return _inconclusive_words(item, "warn", item.warned)
    return "; ".join(
        _words(check, budget) for check in item.checks if check.level == "warn" and check.verdict == "fail"
    )


def _too_lossy_words(item: Judged, budget: Budget) -> str:
    """Returns `is expected to lose 1.25 pp and 1.00 pp is allowed (profile)`."""
    limit = budget.get("accuracy_drop")
    allowed = f"{format_value(limit.value, 'pp')} is allowed ({limit.source})" if limit else "1 point is common sense"
    found = item.candidate.prediction("accuracy_drop")
    if found is None or found.value is None:
        return f"may lose up to {item.bound_points:g} points and {allowed}"
    return f"is expected to lose {format_value(found.value, 'pp')} and {allowed}"


def _rejections(
    best: Judged | None,
    others: Sequence[Judged],
    runners_up: Sequence[Judged],
    budget: Budget,
    profile: DeviceProfile,
    prefer: Preference,
) -> tuple[Rejection, ...]:
    rejected: list[Rejection] = []
    for item in others:
        if item.broken:
            reason = "; ".join(_words(check, budget) for check in item.broken)
        elif item in runners_up or best is None:
            continue
        else:
            reason = _why_behind(item, best, budget, profile, prefer)
        rejected.append(Rejection(candidate=item.candidate.title, reason=reason))
    return tuple(rejected)


def _remedies(judged: Sequence[Judged], budget: Budget) -> tuple[str, ...]:
    """Returns what would make it fit: the smallest change of one budget, else of several, then what needs training."""
    if not judged:
        return ()
    remedies: list[str] = []
    single = [item for item in judged if len(item.broken) == 1]
    if single:
        item = min(single, key=lambda j: (_distance(j, budget), j.key[1:]))
        remedies.append(f"{_loosen(item.broken[0])} makes {item.candidate.title} fit")
    else:
        item = min(judged, key=lambda j: (len(j.broken), _distance(j, budget)))
        flags = " ".join(_loosen(check) for check in item.broken)
        remedies.append(f"{flags} together make {item.candidate.title} fit; no change of one budget is enough")
    remedies += [f"{name}: {words}" for name, words in HINTS[1:]]
    return tuple(remedies)


def _loosen(check: Check) -> str:
    """Returns the flag with the smallest round limit that this prediction's whole band keeps: `--max-size "5.4 MB"`."""
    cost = COSTS[check.name]
    ends = [end for end in (check.value, check.low, check.high) if end is not None]
    value = max(ends) if cost.at_most else min(ends)
    return f'{_FLAGS.get(check.name, f"budget.{check.name}")} "{_rounded(value, check.unit, up=cost.at_most)}"'


def _rounded(value: float, unit: str, *, up: bool) -> str:
    """Returns a quantity in two digits and a unit that people write, rounded so that `value` keeps it."""
    factor, name = next(
        ((f, n) for f, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if unit == "bytes" and abs(value) >= f),
        (1.0, "B" if unit == "bytes" else unit),
    )
    scaled = value / factor
    step = 10.0 ** (math.floor(math.log10(abs(scaled))) - 1) if scaled else 1.0
    rounded = (math.ceil(scaled / step - 1e-9) if up else math.floor(scaled / step + 1e-9)) * step
    return f"{rounded:g} {name}"


def _warnings(best: Judged | None, budget: Budget, profile: DeviceProfile, analysis: Analysis) -> tuple[str, ...]:
    warnings: list[str] = list(analysis.notes)
    if best is None:
        return tuple(warnings)
    if best.candidate.runtime not in profile.runtimes:
        warnings.append(
            f"{profile.name} lists {', '.join(profile.runtimes)} and not {best.candidate.runtime}: its budgets are "
            "applied all the same"
        )
    if (found := float_layers(analysis, best.candidate.recipe, best.candidate.runtime)) is not None:
        warnings.append(f"{best.candidate.title}: {found.words}")
    if best.too_lossy:
        warnings.append(f"{best.candidate.title} {_too_lossy_words(best, budget)}: {best.loss_reason}")
    return tuple(warnings)
