"""Another INT8 for a model whose INT8 came out far from the float model: made, run and chosen by what was measured.

`int8` means a precision by the model's family, and a format that was made with it is measured anyway. Where its
outputs are near, or the task's own metric finds nothing, that is the end, and nothing was spent. Where they are far,
the other recipes of 8 bits (see `planner.other_integers`) are made and run in the format's own runtime: with ranges
from three quarters of the calibration samples, and compared on the rest. The evaluation data stays out of it: it judges
what was chosen. A precision that the user spelled out (`int8-static`) and a plan from a file are decided, and stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.errors import EdgekitError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs, artifact_metadata
from edgekit.exporting.judge import MEASURED_NOW, ArtifactRuns, judge_artifact
from edgekit.pipeline.convert import convert, why_not_made
from edgekit.pipeline.samples import hold_out, reference_outputs, rows_stand_alone
from edgekit.pipeline.settings import Settings
from edgekit.planner.candidates import with_predictions
from edgekit.planner.choice import BROKEN, judge_candidates
from edgekit.planner.float_layers import why_not_integers
from edgekit.planner.other_integers import NEAR_DB, MeasuredRecipe, nearest, other_integers
from edgekit.recipe import Candidate, Recipe, Rejection
from edgekit.samples import Samples
from edgekit.task.request import Request
from edgekit.trials.rescue_search import FEWEST_SAMPLES
from edgekit.units import format_value

LEFT_TO_US: Final = (None, "int8")
"""Presets that leave it to edgekit which INT8 is made."""

_MOST_HELD_OUT: Final = 32
_SOUNDNESS: Final = ("parity_floor", "integer_outputs", "outputs_alive")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Nearer:
    """What is made instead of a candidate.

    Attributes:
        candidate: With its predictions; the one that came, where nothing is better.
        rejected: What was tried and was not taken, at most one.
    """

    candidate: Candidate
    rejected: tuple[Rejection, ...] = ()

    @property
    def words(self) -> str:
        """Returns the same as a sentence, "" where nothing was tried."""
        return " ".join(f"{item.candidate}: {item.reason}." for item in self.rejected)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What the recipes of one format are compared on.

    Attributes:
        request: Device and limits.
        inputs: The model; calibration samples for the ranges, held-out ones in the place of the evaluation data.
        analysis: The model's costed graph.
        settings: How to run.
        runs: How their artifacts are run.
        words: What the recipes were compared on.
    """

    request: Request
    inputs: Inputs
    analysis: Analysis
    settings: Settings
    runs: ArtifactRuns
    words: str


def is_far(result: FormatResult) -> bool:
    """Returns True where a format's integers are to be looked at again: far from float, or nobody could measure it.

    A metric that finds no loss has the last word: a detector's boxes may be near while its other outputs are not.
    """
    if result.error is not None or result.techniques or not other_integers(result.recipe):
        return False
    if not _is_sound(result.checks):
        return True
    drop, parity = (result.check(name) for name in ("accuracy_drop", "parity"))
    if drop is not None and drop.verdict == "pass" and drop.value is not None:
        return False
    return parity is None or parity.value is None or not parity.value >= NEAR_DB


def is_measured(result: FormatResult) -> bool:
    """Returns True where the parity of a format's artifact was measured on evaluation data."""
    parity = result.check("parity")
    return parity is not None and parity.value is not None


def nearer_candidate(
    candidate: Candidate,
    request: Request,
    inputs: Inputs,
    analysis: Analysis,
    settings: Settings,
    *,
    known: bool,
    runs: ArtifactRuns = MEASURED_NOW,
) -> Nearer:
    """Returns what is made of 8 bits in the place of a candidate that came out far from the float model.

    Args:
        candidate: What was made.
        request: Device and limits.
        inputs: The model and its data.
        analysis: The model's costed graph.
        settings: How to run.
        known: It is known to be far: on the evaluation data, of which the calibration samples may be no likeness.
        runs: How artifacts are run; only their outputs are looked at.

    Raises:
        KeyboardInterrupt: after the running worker was ended; finished work is kept.
    """
    if inputs.calibration is None:
        return Nearer(candidate=candidate)
    try:
        trial = _trial(request, inputs, inputs.calibration, analysis, settings, runs)
    except EdgekitError as error:  # what was made stands, and its checks say how far it is
        reason = f"nothing could be tried: {error.message.splitlines()[0].rstrip('.')}"
        return Nearer(
            candidate=candidate, rejected=(Rejection(candidate=f"{candidate.runtime} other INT8", reason=reason),)
        )
    base = _measure(candidate.recipe, candidate, trial)
    if base is None or (base.is_near and not known):
        return Nearer(candidate=candidate)
    allowed = [recipe for recipe in other_integers(candidate.recipe) if _is_allowed(recipe, candidate, trial)]
    taken, tried = nearest(base, allowed, lambda recipe: _measure(recipe, candidate, trial))
    if taken is base:
        return Nearer(candidate=candidate, rejected=_kept(candidate, base, tried, trial))
    changed = _with_recipe(candidate, taken.recipe, trial)
    return Nearer(candidate=changed, rejected=(_replaced(candidate, changed, base, tried, trial),))


def _trial(
    request: Request,
    inputs: Inputs,
    calibration: Samples,
    analysis: Analysis,
    settings: Settings,
    runs: ArtifactRuns,
) -> _Trial:
    """Returns what is compared on what: samples apart from those of the ranges, where there are enough to cut."""
    tuning = held_out = calibration
    words = f"on the {calibration.items} calibration samples themselves"
    if rows_stand_alone(calibration) and calibration.count >= FEWEST_SAMPLES:
        every = max(4, math.ceil(calibration.count / _MOST_HELD_OUT))
        tuning, held_out = hold_out(calibration, every, settings)
        words = f"on {held_out.items} held-out calibration samples"
    reference = reference_outputs(inputs.model, held_out, settings)
    placed = replace(inputs, calibration=tuning, evaluation=held_out, reference=reference)
    return _Trial(
        request=request,
        inputs=placed,
        analysis=analysis,
        settings=settings,
        runs=replace(runs, pieces=("outputs",)),
        words=words,
    )


def _measure(recipe: Recipe, candidate: Candidate, trial: _Trial) -> MeasuredRecipe | None:
    """Returns how near a recipe's artifact is; None where it cannot be made, or its outputs not compared."""
    runtime, inputs, settings = candidate.runtime, trial.inputs, trial.settings
    try:
        made = convert(
            inputs.model_for(runtime),
            runtime,
            recipe,
            inputs.calibration,
            settings,
            metadata=artifact_metadata(inputs, (), recipe),
            image=inputs.image_for(runtime),
        )
        checks, _ = judge_artifact(made.artifact, inputs, recipe, Budget(), settings, runs=trial.runs)
    except EdgekitError as error:
        settings.progress(runtime, f"{recipe.name} was not made: {error.message.splitlines()[0]}", None)
        return None
    parity = next((check.value for check in checks if check.name == "parity"), None)
    if parity is None:
        return None
    # NaN is worse than any number.
    return MeasuredRecipe(
        recipe=recipe, parity_db=-math.inf if math.isnan(parity) else parity, is_sound=_is_sound(checks)
    )


def _is_sound(checks: Sequence[Check]) -> bool:
    return not any(check.verdict == "fail" for check in checks if check.name in _SOUNDNESS)


def _with_recipe(candidate: Candidate, recipe: Recipe, trial: _Trial) -> Candidate:
    return with_predictions(Candidate(runtime=candidate.runtime, recipe=recipe), trial.analysis, trial.request.profile)


def _is_allowed(recipe: Recipe, candidate: Candidate, trial: _Trial) -> bool:
    """Returns True for a recipe that the format can hold, and that breaks no limit which the candidate keeps."""
    runtime, request = candidate.runtime, trial.request
    refuse = why_not_made(trial.inputs.model, trial.analysis)
    if refuse(runtime, recipe) or why_not_integers(trial.analysis, recipe, runtime):
        return False
    pair = (candidate, _with_recipe(candidate, recipe, trial))
    before, after = (
        judge_candidates([item], request.budget, request.profile, trial.analysis.family, (runtime,))[0].tier
        for item in pair
    )
    return after < BROKEN or before == BROKEN


def _replaced(
    candidate: Candidate, changed: Candidate, base: MeasuredRecipe, tried: Sequence[MeasuredRecipe], trial: _Trial
) -> Rejection:
    found = next(item for item in tried if item.recipe == changed.recipe)
    reason = (
        f"its outputs are {format_value(base.parity_db, 'dB')} from the float model's {trial.words}, and "
        f"{recipe_words(changed.recipe, candidate.recipe)}, which was made instead, has "
        f"{format_value(found.parity_db, 'dB')}{_cost_words(candidate, changed)}"
    )
    others = [item for item in tried if item is not found]
    if others:
        reason += f" ({_tried_words(others, candidate)})"
    return Rejection(candidate=_title(candidate.recipe, candidate, changed.recipe), reason=reason)


def _kept(
    candidate: Candidate, base: MeasuredRecipe, tried: Sequence[MeasuredRecipe], trial: _Trial
) -> tuple[Rejection, ...]:
    if not tried:
        return ()
    reason = (
        f"{candidate.recipe.name} is {format_value(base.parity_db, 'dB')} from the float model {trial.words}, and no "
        f"other INT8 is much nearer: {_tried_words(tried, candidate)}. edgekit debug shows where it departs, and "
        "--precision fp16 keeps it near"
    )
    return (Rejection(candidate=f"{candidate.runtime} other INT8", reason=reason),)


def _tried_words(tried: Sequence[MeasuredRecipe], candidate: Candidate) -> str:
    return ", ".join(
        f"{recipe_words(item.recipe, candidate.recipe)} {format_value(item.parity_db, 'dB')}" for item in tried
    )


def recipe_words(recipe: Recipe, base: Recipe) -> str:
    """Returns `int8-dynamic`, or `ranges=mse` where only the ranges differ from the base."""
    return recipe.name if recipe.default != base.default else f"ranges={recipe.ranges}"


def _title(recipe: Recipe, candidate: Candidate, made: Recipe) -> str:
    """Returns how the replaced recipe is called, with its ranges where nothing else tells it from what was made."""
    words = f"{candidate.runtime} {recipe.name}"
    return f"{words} ranges={recipe.ranges}" if made.default == recipe.default else words


def _cost_words(candidate: Candidate, changed: Candidate) -> str:
    """Returns ` and is predicted at 1.9 x the latency`, "" where the costs are the same or not known."""
    words: list[str] = []
    for name in ("size", "memory", "latency"):
        before, after = candidate.prediction(name), changed.prediction(name)
        if before and after and before.value and after.value and abs(after.value / before.value - 1) >= 0.05:
            words.append(f"{after.value / before.value:.2g} x the {name}")
    return f" and is predicted at {', '.join(words)}" if words else ""
