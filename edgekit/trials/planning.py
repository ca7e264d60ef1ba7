"""Plans with as much effort as was requested: predicted, simulated, or with the finalists exported and validated.

quick     predicts from the graph and from what other models lost; runs nothing.
default   simulates the candidates on calibration data, measures every layer, and adds a recipe of mixed precision; with
          `--precision int4`, layers keep 8 bits where 4 would bring the artifact too far from the float model.
thorough  brings integer candidates nearer to the float model with calibration data alone (see `rescue_search`), exports
          and validates the best few, and decides by what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget
from edgekit.errors import EdgekitError
from edgekit.exporting.inputs import read_inputs
from edgekit.model import CapturedModel
from edgekit.pipeline.convert import why_not_made
from edgekit.pipeline.settings import Settings
from edgekit.planner.choice import BROKEN, judge_candidates
from edgekit.planner.float_heads import FloatHead
from edgekit.planner.make import make_plan
from edgekit.planner.mixed_search import is_integer, precisions_to_mix, search, search_smallest
from edgekit.planner.plan import LayerLoss, Plan
from edgekit.planner.recipes import eight_bits_for, resolve_precision, steps_of
from edgekit.planner.technique_offers import needs_calibration, offers_for
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Candidate, Effort, Preference, Rejection, Step
from edgekit.samples import Samples
from edgekit.simulation.jobs import SimulatedRecipe, SimulationData
from edgekit.simulation.realisation import why_not_simulated
from edgekit.task.task import Task
from edgekit.trials.candidates import (
    PARITY_ERROR_DB,
    measure_layers,
    measured_predictions,
    simulate_candidates,
    simulated_predictions,
    weighed,
)
from edgekit.trials.finalists import export_finalists
from edgekit.trials.float_heads import find_float_heads
from edgekit.trials.obstacles import find_obstacles
from edgekit.trials.rescue_search import open_rescue_search
from edgekit.trials.simulation_data import ready_to_simulate

FINALISTS: Final = 3
"""Candidates that `thorough` exports."""

FOUR_BIT_PARITY_DB: Final = 18.0
"""How near to the float model an export with `--precision int4` is brought where no budget limits its parity."""

RESCUED: Final = 2
"""Integer candidates that `thorough` tries to bring nearer to the float model: each takes minutes."""

_MEASURABLE: Final = ("size", "download", "memory", "accuracy_drop", "slice_drop", "parity")
"""Costs that this host measures as the device would; its latency is its own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What is to be planned.

    Attributes:
        task: The task.
        model: The captured model.
        analysis: Its costed graph.
        profile: The device.
        budget: The limits in force.
        formats: Formats that the user forces; empty lets the profile's order of runtimes decide.
        precision: A preset that the user forces; None lets the planner choose.
        effort: See the module.
        prefer: What decides among candidates that fit.
        data_to_come: Plan what needs calibration data too where the task has none yet, and say so: an export needs it.
        trial: Convert the float model to every format first: only a trial finds what a converter cannot hold.
        techniques: What the user requested before the quantization; then no others are looked for.
        siblings: Formats that are planned afterwards with the same model: what is simulated for one is simulated for
            all of them at once.
    """

    task: Task
    model: CapturedModel
    analysis: Analysis
    profile: DeviceProfile
    budget: Budget
    formats: tuple[str, ...] = ()
    precision: str | None = None
    effort: Effort = "quick"
    prefer: Preference = "balanced"
    data_to_come: bool = False
    trial: bool = False
    techniques: tuple[Step, ...] = ()
    siblings: tuple[str, ...] = ()


def plan(request: PlanRequest, settings: Settings) -> Plan:
    """Returns the plan.

    Raises:
        EdgekitError: the data is wrong, or this machine cannot run what the effort asks for.
        KeyboardInterrupt: after the running worker was ended; finished work is kept.
    """
    formats = request.formats or request.profile.runtimes
    obstacles = {
        item.runtime: item.reason
        for item in find_obstacles(request.task, request.model, formats, settings, trial=request.trial)
    }
    refinement = _Refinement(request, settings)
    made = make_plan(
        request.model,
        request.analysis,
        request.profile,
        request.budget,
        formats=request.formats,
        precision=request.precision,
        why_not=why_not_made(request.model, request.analysis, obstacles),
        has_calibration=request.task.calibration is not None or request.data_to_come,
        has_training=request.task.training is not None,
        offers=offers_for(request.model.kind, request.analysis.family, has_training=request.task.training is not None),
        refine=refinement.refine,
        prefer=request.prefer,
        heads=_float_heads(request, settings),
    )
    return replace(
        made,
        effort=request.effort,
        reasons=(*made.reasons, *refinement.reasons_of(made.chosen)),
        warnings=(*made.warnings, *request.model.capture_notes, *_missing_data(made, request.task), *refinement.notes),
        rejected=(*made.rejected, *refinement.failed),
        sensitivity=refinement.sensitivity,
    )


def _float_heads(request: PlanRequest, settings: Settings) -> tuple[FloatHead, ...]:
    """Returns the heads that stay float, where a recipe with fixed ranges is among those to look at."""
    presets = (request.precision,) if request.precision else ("int8",)
    runtimes = request.formats or request.profile.runtimes
    recipes = [resolve_precision(name, request.analysis.family, runtime) for name in presets for runtime in runtimes]
    if not any(recipe.needs_calibration for recipe in recipes):
        return ()
    return find_float_heads(request.task, request.model, request.analysis, settings)


def _missing_data(made: Plan, task: Task) -> tuple[str, ...]:
    """Returns what the chosen candidate needs and the task does not have yet; sentences."""
    if made.chosen is None or task.calibration is not None or not needs_calibration(made.chosen):
        return ()
    words = (
        f"{made.chosen.title} needs calibration data before it can be exported, and the task has none: a few hundred "
        "real inputs as --calibration FILE.npz, --calibration FOLDER of images, or --calibration data.py:function"
    )
    return (words,)


@final
class _Refinement:
    """Replaces what can only be guessed by what was simulated or measured.

    Attributes:
        notes: What could not be done and why, sentences.
        rescues: Candidate's title to what was tried to bring it nearer to the float model, sentences.
        failed: Candidates that could not be exported.
        sensitivity: What each layer costs in accuracy.
    """

    def __init__(self, request: PlanRequest, settings: Settings) -> None:
        self._request = request
        self._settings = settings
        self.notes: tuple[str, ...] = ()
        self.rescues: dict[str, str] = {}
        self.failed: tuple[Rejection, ...] = ()
        self.sensitivity: tuple[LayerLoss, ...] = ()

    def reasons_of(self, chosen: Candidate | None) -> tuple[str, ...]:
        """Returns what was tried to bring the chosen candidate nearer to the float model, as reasons of the plan."""
        note = self.rescues.get(chosen.title) if chosen is not None else None
        return () if note is None else (note,)

    def refine(self, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """Returns the candidates as well known as the effort allows; a `make.Refinement`."""
        if self._request.effort == "quick" or not candidates:
            return candidates
        ready = self._ready_to_simulate()
        if isinstance(ready, str):
            self.notes = (f"nothing was simulated: {ready}",)
        else:
            candidates = self._simulated(candidates, *ready)
            if self._request.precision == "int4":
                candidates = self._eased(candidates, *ready)
            mixed = self._mixed(candidates, *ready)
            candidates = (*candidates, *self._simulated(mixed, *ready))
            if self._request.effort == "thorough" and not self._request.techniques:
                candidates = self._rescued(candidates, *ready)
        return self._exported(candidates) if self._request.effort == "thorough" else candidates

    def _ready_to_simulate(self) -> tuple[CapturedModel, Samples] | str:
        """Returns the model as torch and the calibration samples, or why there is no simulation."""
        return ready_to_simulate(self._request.task, self._request.model, self._settings)

    def _within_reach(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Returns the candidates that break no limit, the best first."""
        request = self._request
        formats = request.formats or request.profile.runtimes
        judged = judge_candidates(
            candidates, request.budget, request.profile, request.analysis.family, formats, request.prefer
        )
        return tuple(item.candidate for item in judged if item.tier < BROKEN)

    def _simulated(
        self, candidates: tuple[Candidate, ...], model: CapturedModel, samples: Samples
    ) -> tuple[Candidate, ...]:
        """Returns all candidates; those that break no limit and change nothing but precision were simulated."""
        wanted = [
            item
            for item in self._within_reach(candidates)
            if item.steps == steps_of(item.recipe)
            and (item.recipe.default != "fp32" or item.recipe.overrides)
            and why_not_simulated(item.runtime, "pt2") is None
        ]
        data = SimulationData(model=model, samples=samples)
        results: tuple[SimulatedRecipe, ...] = ()
        if wanted:
            results = simulate_candidates(wanted, self._request.task, data, self._settings, self._request.siblings)
        better = {
            item.title: item.better_known(
                weighed(
                    simulated_predictions(result, self._request.task, samples),
                    item.prediction("accuracy_drop"),
                    samples.items,
                ),
            )
            for item, result in zip(wanted, results, strict=True)
        }
        return tuple(better.get(item.title, item) for item in candidates)

    def _mixed(
        self, candidates: tuple[Candidate, ...], model: CapturedModel, samples: Samples
    ) -> tuple[Candidate, ...]:
        """Returns a candidate of mixed precision in the best candidate's format, if there is one worth a look."""
        request = self._request
        best = next(iter(self._within_reach(candidates) or candidates))
        base = next((c for c in candidates if c.runtime == best.runtime and c.recipe.default.startswith("int8")), None)
        if base is None or request.precision is not None or base.steps != steps_of(base.recipe):
            return ()
        others = precisions_to_mix(candidates, base.runtime)
        integers = (base.recipe.default, *filter(is_integer, others))
        self.sensitivity = measure_layers(base, integers, request.task, model, samples, self._settings)
        found = search(self.sensitivity, base, others, request.budget, request.analysis, request.profile)
        if found is None or why_not_made(request.model, request.analysis)(found.runtime, found.recipe) is not None:
            return ()
        return (found,)

    def _eased(
        self, candidates: tuple[Candidate, ...], model: CapturedModel, samples: Samples
    ) -> tuple[Candidate, ...]:
        """Returns the candidates of 4 bits, each with the layers at 8 bits without which it is too far from float.

        Of such mixtures the smallest is taken. One that keeps no limit is left out, and the plain candidate stays.
        """
        request = self._request
        limit = request.budget.get("parity")
        wanted = limit.value if limit is not None else FOUR_BIT_PARITY_DB
        found: list[Candidate] = []
        for item in candidates:
            parity, above = item.prediction("parity"), eight_bits_for(item.runtime)
            eased: tuple[Candidate, ...] = ()
            if item.steps == steps_of(item.recipe) and parity and parity.low is not None and parity.low < wanted:
                losses = measure_layers(
                    item, (item.recipe.default, above), request.task, model, samples, self._settings
                )
                self.sensitivity = self.sensitivity or losses
                allowed = 10 ** (-(wanted + PARITY_ERROR_DB) / 10)
                mixed = search_smallest(losses, item, above, allowed, request.analysis, request.profile)
                eased = self._within_reach(self._simulated((mixed,), model, samples)) if mixed else ()
            found += eased or (item,)
        return tuple(found)

    def _rescued(
        self, candidates: tuple[Candidate, ...], model: CapturedModel, samples: Samples
    ) -> tuple[Candidate, ...]:
        """Returns the candidates, the best integer ones with what brings them nearer to the float model."""
        request = self._request
        wanted = [
            item
            for item in self._within_reach(candidates)
            if is_integer(item.recipe.default) and item.steps == steps_of(item.recipe)
        ][:RESCUED]
        if not wanted:
            return candidates
        search = open_rescue_search(
            request.task, model, request.analysis, request.profile, samples, self._settings, request.siblings
        )
        if isinstance(search, str):
            self.notes = (*self.notes, f"nothing was tried to bring integers nearer to the float model: {search}")
            return candidates
        found = {item.title: search.rescue(item) for item in wanted}
        self.rescues = {item.candidate.title: item.note for item in found.values()}
        return tuple(found[item.title].candidate if item.title in found else item for item in candidates)

    def _exported(self, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """Returns the candidates; the finalists were exported and validated, those that failed are left out."""
        request = self._request
        finalists = self._within_reach(candidates)[:FINALISTS]
        if not finalists:
            return candidates
        changes = any(item.techniques for item in finalists)
        inputs = read_inputs(
            request.task,
            [item.runtime for item in finalists],
            self._settings,
            model=request.model,
            as_torch=changes,
        )
        better: dict[str, Candidate] = {}
        failed: list[Rejection] = []
        for item, found in zip(finalists, export_finalists(finalists, inputs, self._settings), strict=True):
            if isinstance(found, EdgekitError):
                failed.append(Rejection(candidate=item.title, reason=found.message.splitlines()[0]))
            else:
                better[item.title] = item.better_known(measured_predictions(found, _MEASURABLE))
        self.failed = tuple(failed)
        lost = {item.candidate for item in failed}
        return tuple(better.get(item.title, item) for item in candidates if item.title not in lost)
