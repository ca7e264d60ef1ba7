"""Looks for what brings an integer recipe nearer to the float model without training: alone first, then together.

Techniques learn from three quarters of the calibration samples; the rest, which they have not seen, says by simulation
what each change gains. The evaluation data stays out of it: it judges what was chosen. The search is greedy: what helps
most by itself is kept, and each of the others joins it if that gains as much again as `GAIN_DB`. Where the task's
metric tells two simulations apart, it decides; parity does where the metric sees no difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.samples import hold_out, rows_stand_alone
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import apply_techniques
from edgekit.planner.rescues import GAIN_DB, Rescue, joined, possible_rescues, worth_joining
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Prediction
from edgekit.samples import Samples
from edgekit.simulation.jobs import SimulatedRecipe, SimulationData
from edgekit.task.task import Task
from edgekit.techniques.base import technique as find_technique
from edgekit.trials.candidates import simulate_candidates, simulated_predictions, weighed
from edgekit.units import format_value

FEWEST_SAMPLES: Final = 16
"""Below it nothing can be held out that would say anything."""

LONGEST_S: Final = 900.0
"""What a technique may be expected to take, seconds on one core."""

_HELD_OUT: Final = 4  # every fourth sample


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """What came of the search for one candidate.

    Attributes:
        candidate: The best that was found, with the predictions of its simulation; the candidate itself where nothing
            helps.
        note: What was tried and what it gained, a sentence.
    """

    candidate: Candidate
    note: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RescueSearch:
    """Tries changes of one model.

    Attributes:
        task: The task.
        model: Captured as `pt2`.
        analysis: Its costed graph.
        profile: The device.
        tuning: What techniques and ranges learn from.
        held_out: What says how much was gained.
        settings: How to run.
        siblings: Formats that are planned afterwards; see `simulate_candidates`.
    """

    task: Task
    model: CapturedModel
    analysis: Analysis
    profile: DeviceProfile
    tuning: Samples
    held_out: Samples
    settings: Settings
    siblings: tuple[str, ...] = ()

    def rescue(self, candidate: Candidate) -> Rescued:
        """Returns the candidate with what helps it.

        Raises:
            EdgekitError: the recipe cannot be simulated.
            KeyboardInterrupt: after the running worker was ended; finished work is kept.
        """
        base = self._simulate(candidate, Rescue())
        tried: list[tuple[Rescue, SimulatedRecipe]] = []
        left_out: list[str] = []
        for change in possible_rescues(candidate):
            if reason := self._why_not(change):
                left_out.append(f"{change.title}: {reason}")
                continue
            try:
                tried.append((change, self._simulate(candidate, change)))
            except EdgekitError as error:
                left_out.append(f"{change.title}: {error.message.splitlines()[0]}")
        best, result = self._together(candidate, base, tried)
        words = ", ".join(f"{change.title} {_gain_words(base, found)}" for change, found in tried)
        changed = best.applied_to(candidate) if best != Rescue() else candidate
        note = (
            f"{candidate.title}: {self._outcome(best, base, result)} on {self.held_out.items} held-out calibration "
            f"samples (tried alone: {words or 'nothing'})"
        )
        return Rescued(
            candidate=candidate if best == Rescue() else changed.better_known(self._predictions(result, candidate)),
            note="; ".join([note, *left_out]),
        )

    def _predictions(self, result: SimulatedRecipe, before: Candidate) -> tuple[Prediction, ...]:
        made = simulated_predictions(result, self.task, self.held_out, "held-out calibration")
        return weighed(made, before.prediction("accuracy_drop"), self.held_out.items)

    def _together(
        self, candidate: Candidate, base: SimulatedRecipe, tried: Sequence[tuple[Rescue, SimulatedRecipe]]
    ) -> tuple[Rescue, SimulatedRecipe]:
        """Returns the best combination and what simulating it gave."""
        best, result = Rescue(), base
        for change in worth_joining((change, gain_of(base, found)) for change, found in tried):
            both = joined(best, change)
            if both is None:
                continue
            alone = next(found for other, found in tried if other == change)
            found = alone if best == Rescue() else self._simulate(candidate, both)
            if gain_of(result, found) >= GAIN_DB:
                best, result = both, found
        return best, result

    def _simulate(self, candidate: Candidate, change: Rescue) -> SimulatedRecipe:
        """Returns what the candidate's recipe gives on held-out samples after a change."""
        model = self.model
        if change.steps:
            model = apply_techniques(self.model, change.steps, self.tuning, self.settings, self.task)[-1].model
        data = SimulationData(
            model=model, samples=self.tuning, held_out=self.held_out, reference=self.model if change.steps else None
        )
        return simulate_candidates([change.applied_to(candidate)], self.task, data, self.settings, self.siblings)[0]

    def _why_not(self, change: Rescue) -> str | None:
        """Returns why a change is not tried, or None if it is."""
        for step in change.steps:
            technique = find_technique(step.technique).from_settings(step.settings, "plan")
            if reason := technique.why_not_usable(self.model, self.task, self.profile):
                return reason
            seconds = technique.estimate(self.analysis).seconds
            if seconds > LONGEST_S:
                return f"it would take about {seconds / 60:.0f} minutes; --technique {step} does it all the same"
        return None

    def _outcome(self, best: Rescue, base: SimulatedRecipe, result: SimulatedRecipe) -> str:
        before, after = format_value(base.sqnr_db, "dB"), format_value(result.sqnr_db, "dB")
        if best == Rescue():
            return f"no change brought it nearer to the float model than {before}"
        return f"{best.title} brings parity from {before} to {after}"


def gain_of(before: SimulatedRecipe, after: SimulatedRecipe) -> float:
    """Returns what a change gains: points of the metric where these tell the two apart, else decibels of parity."""
    points = _points(before, after)
    return after.sqnr_db - before.sqnr_db if points is None else points


def _points(before: SimulatedRecipe, after: SimulatedRecipe) -> float | None:
    """Returns what a change gains of the metric in percentage points; None where the intervals of the two overlap.

    Of 25 held-out samples one changed decision is 4 points, and says nothing.
    """
    drops = [item.drop for item in (before, after) if item.drop is not None]
    known = [
        (drop.value, drop.low, drop.high) for drop in drops if drop.value is not None and math.isfinite(drop.value)
    ]
    if len(known) < 2:
        return None
    (mine, low, high), (other, other_low, other_high) = known
    if low is None or high is None or other_low is None or other_high is None:
        return None
    return mine - other if other_high < low or high < other_low else None


def _gain_words(before: SimulatedRecipe, after: SimulatedRecipe) -> str:
    points = _points(before, after)
    return f"{after.sqnr_db - before.sqnr_db:+.1f} dB" + ("" if points is None else f" and {points:+.1f} pp")


def open_rescue_search(
    task: Task,
    model: CapturedModel,
    analysis: Analysis,
    profile: DeviceProfile,
    samples: Samples,
    settings: Settings,
    siblings: tuple[str, ...] = (),
) -> RescueSearch | str:
    """Returns what tries changes, or why nothing can be tried with these samples.

    Args:
        task: The task.
        model: Captured as `pt2`.
        analysis: Its costed graph.
        profile: The device.
        samples: Calibration samples.
        settings: How to run.
        siblings: Formats that are planned afterwards.
    """
    if samples.count < FEWEST_SAMPLES:
        return f"{samples.count} calibration samples are too few to hold some out; {FEWEST_SAMPLES} are enough"
    if not rows_stand_alone(samples):
        return "the calibration data is made of sequences, or of items of several rows or sizes, which cannot be cut"
    tuning, held_out = hold_out(samples, _HELD_OUT, settings)
    return RescueSearch(
        task=task,
        model=model,
        analysis=analysis,
        profile=profile,
        tuning=tuning,
        held_out=held_out,
        settings=settings,
        siblings=siblings,
    )
