"""The precision ladder: FP16, INT8, INT4, each exported and run, down to the accuracy cliff and its layers.

Each rung is made and measured as `--effort thorough` does (`trials.candidates`), from the cache where it has been. The
climb down ends at the first rung whose measured drop breaks its limit. There every layer is simulated alone; the
fewest that are expected to bring the drop back inside the limit keep the precision of the rung above, and that mixture
is exported and measured as a rung of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.budget import Budget, Limit
from edgekit.checks import Check, complete, judge
from edgekit.errors import EdgekitError, UsageError
from edgekit.exporting.inputs import Inputs, read_inputs
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.convert import why_not_made
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import apply_techniques
from edgekit.planner.candidates import with_predictions
from edgekit.planner.choice import DEFAULT_LOSS_POINTS
from edgekit.planner.cliff import allowed_noise, fewest_layers, layer_shares, noise_of
from edgekit.planner.float_heads import FloatHead, with_float_heads
from edgekit.planner.mixed_precision import with_precisions
from edgekit.planner.mixed_search import is_integer, losses_by_metric, precisions_to_mix
from edgekit.planner.recipes import resolve_precision
from edgekit.predict.storage import four_bit_work
from edgekit.recipe import Candidate, Precision
from edgekit.simulation.realisation import why_not_simulated
from edgekit.trials.candidates import LayerNoises, export_candidate, measure_noise
from edgekit.trials.float_heads import find_float_heads
from edgekit.trials.ladder_rungs import RUNGS, Cliff, Ladder, LadderRequest, Rung, climb
from edgekit.trials.simulation_data import ready_to_simulate

ATTEMPTS: Final = 3
"""Mixtures that are exported and measured at a cliff: each takes as long as a rung."""

_FOUR_BIT_WORK: Final = 0.5
"""Share of the work that 4-bit kernels must take for the rung to be one: below it, most layers would go from integer
arithmetic back to float."""

_GROWTH: Final = 1.5
"""A mixture that was not enough is followed by one with this many times its layers at least."""


def ladder(request: LadderRequest, settings: Settings, done: Callable[[str, str], None]) -> Ladder:
    """Climbs the ladder.

    Args:
        request: What to climb.
        settings: How to run.
        done: Callback that gets (stage, phrase) when a rung has been measured.

    Raises:
        UsageError: the task has no evaluation data, or no rung can be made.
        EdgekitError: the model, the data or a technique is wrong.
        KeyboardInterrupt: after the running worker was ended; finished rungs are kept.
    """
    if request.task.evaluation is None:
        raise UsageError(
            "A ladder is judged by measured accuracy, and the task names no evaluation data. Give it as --evaluation "
            "DATA or [data] evaluation in edgekit.toml: a function, an .npz file or a folder of images."
        )
    ladder_search = open_ladder_search(request, settings, done)
    rungs = climb(RUNGS, ladder_search.visit, strict=request.strict)
    if all(rung.skipped for rung in rungs):
        reasons = "\n".join(f"  {rung.name}: {rung.skipped}" for rung in rungs)
        raise UsageError(
            f"{request.model.source} has no rung in {request.runtime}:\n{reasons}\nName another format with --format."
        )
    cliff, mixtures = ladder_search.at_the_cliff(rungs) if rungs[-1].falls(strict=request.strict) else (None, ())
    return Ladder(
        request=request, limit=ladder_search.limit, rungs=(*rungs, *mixtures), left=RUNGS[len(rungs) :], cliff=cliff
    )


def open_ladder_search(request: LadderRequest, settings: Settings, done: Callable[[str, str], None]) -> LadderSearch:
    """Returns what visits rungs: the data read, the techniques applied.

    Raises:
        EdgekitError: the model, the data or a technique is wrong.
    """
    inputs = read_inputs(request.task, [request.runtime], settings, model=request.model, as_torch=True)
    changed: CapturedModel | None = None
    if request.techniques:
        if isinstance(inputs.torch_model, EdgekitError):
            raise inputs.torch_model
        applied = apply_techniques(inputs.torch_model, request.techniques, inputs.calibration, settings, request.task)
        changed = applied[-1].model
    # Of an ONNX file the torch program is costed: layers are measured in it, and have its names.
    costed = request.model if isinstance(inputs.torch_model, EdgekitError) else inputs.torch_model
    analysis = analyze_model(changed or costed, settings)
    heads = find_float_heads(request.task, changed or costed, analysis, settings)
    return LadderSearch(
        request=request, settings=settings, done=done, inputs=inputs, changed=changed, analysis=analysis, heads=heads
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSearch:
    """Makes and measures rungs.

    Attributes:
        request: What was requested.
        settings: How to run.
        done: Callback that gets (stage, phrase) when a rung has been measured.
        inputs: The model and its data.
        changed: What the techniques have made of the model; None without any.
        analysis: Costed graph of what the converter starts from.
        heads: Heads that stay float in static INT8.
    """

    request: LadderRequest
    settings: Settings
    done: Callable[[str, str], None]
    inputs: Inputs
    changed: CapturedModel | None
    analysis: Analysis
    heads: tuple[FloatHead, ...] = ()

    @property
    def limit(self) -> Limit:
        """The limit on the drop: the budget's, else what the planner takes as acceptable."""
        default = Limit(name="accuracy_drop", value=DEFAULT_LOSS_POINTS, source="default")
        return self.request.budget.get("accuracy_drop") or default

    @property
    def budget(self) -> Budget:
        """The limits that every rung is held to. The profile's on paths are for exports."""
        return self.request.budget.overridden_by([self.limit]).without_profile_paths()

    def visit(self, name: str) -> Rung:
        """Returns the rung of the preset `name`, measured, or with the reason why not."""
        request = self.request
        options = request.profile.options.get(request.runtime)
        dense = self.analysis.has_dense_outputs
        recipe = resolve_precision(name, self.analysis.family, request.runtime, options, dense_outputs=dense)
        recipe = with_float_heads(recipe, request.runtime, self.heads)
        candidate = with_predictions(
            Candidate(runtime=request.runtime, recipe=recipe, steps=request.techniques), self.analysis, request.profile
        )
        if reason := self._why_not(candidate):
            self.done(name, f"skipped: {reason}")
            return Rung(name=name, candidate=candidate, skipped=reason)
        return self.measure(name, candidate)

    def measure(self, name: str, candidate: Candidate) -> Rung:
        """Returns the rung of a candidate, exported and run, or with what went wrong."""
        try:
            checks = export_candidate(candidate, self.inputs, self.settings, self.changed)
        except EdgekitError as error:
            self.done(name, f"failed: {error.message.splitlines()[0]}")
            return Rung(name=name, candidate=candidate, error=error)
        rung = Rung(name=name, candidate=candidate, checks=self._held(checks, candidate))
        drop = rung.check("accuracy_drop")
        figure = "not measured" if drop is None or drop.value is None else f"{drop.value:.2f} pp"
        self.done(name, f"measured: drop {figure}")
        return rung

    def at_the_cliff(self, rungs: Sequence[Rung]) -> tuple[Cliff, tuple[Rung, ...]]:
        """Returns the cliff that the last of `rungs` is, and the mixtures that were measured there."""
        fallen = rungs[-1]
        precision = fallen.candidate.recipe.default
        bare = Cliff(rung=fallen.name, precision=precision)
        if not is_integer(precision):
            return replace(bare, reason="only integer precisions are simulated layer by layer"), ()
        ready = ready_to_simulate(self.request.task, self.changed or self.request.model, self.settings)
        if isinstance(ready, str):
            return replace(bare, reason=ready), ()
        if reason := why_not_simulated(self.request.runtime, "pt2"):
            return replace(bare, reason=reason), ()
        above = next((rung for rung in reversed(rungs[:-1]) if rung.measured), None)
        kept, name = self._precision_above(fallen, above)
        integers: list[Precision] = [precision]
        if kept is not None and is_integer(kept):
            integers.append(kept)
        noises = measure_noise(fallen.candidate, integers, self.request.task, *ready, self.settings)
        noises = replace(noises, layers=losses_by_metric(noises.layers))
        cliff = replace(bare, layers=layer_shares(noises.layers, precision))
        if kept is None:
            return replace(cliff, reason=f"{self.request.runtime} cannot mix {fallen.name} with what is above it"), ()
        return self._mixtures(replace(cliff, kept_precision=kept), fallen, name, noises)

    def _mixtures(self, cliff: Cliff, fallen: Rung, above: str, noises: LayerNoises) -> tuple[Cliff, tuple[Rung, ...]]:
        """Returns the cliff with the layers of the last mixture, and the mixtures: until one keeps the limit."""
        made: list[Rung] = []
        rung = fallen
        while len(made) < ATTEMPTS:
            kept = self._layers_to_keep(cliff, rung, noises)
            if len(kept) <= len(cliff.kept) or len(kept) == len(cliff.layers):
                return replace(cliff, reason=f"every layer that helps would have to stay at {above}"), tuple(made)
            cliff = replace(cliff, kept=kept)
            rung = self._mixture(cliff, fallen, above)
            made.append(rung)
            if not rung.measured:
                return replace(cliff, reason="the mixture could not be made"), tuple(made)
            if rung.is_inside and not rung.falls(strict=self.request.strict):
                return cliff, tuple(made)
        return replace(cliff, reason=f"{ATTEMPTS} mixtures were measured and none is inside the limit"), tuple(made)

    def _layers_to_keep(self, cliff: Cliff, rung: Rung, noises: LayerNoises) -> tuple[str, ...]:
        """Returns the layers that the next mixture keeps, more than the last; as many as before where none is left.

        The drop that was measured last tells how much noise the limit allows.
        """
        drop = rung.check("accuracy_drop")
        precision = cliff.kept_precision or "fp32"
        noise = noise_of(noises.layers, cliff.precision, precision, cliff.kept)
        allowed = 0.0
        if drop is not None and drop.value is not None and math.isfinite(drop.value):
            allowed = allowed_noise(noise, drop.value, self.limit.value, noises.margins)
        least = max(1, math.ceil(_GROWTH * len(cliff.kept)))
        return fewest_layers(noises.layers, cliff.precision, precision, allowed, least=least)

    def _mixture(self, cliff: Cliff, fallen: Rung, above: str) -> Rung:
        """Returns the fallen rung with the cliff's kept layers at the precision above, measured."""
        kept, precision = cliff.kept, cliff.kept_precision or "fp32"
        precisions: dict[str, Precision] = {
            item.module: precision if item.module in kept else cliff.precision for item in cliff.layers
        }
        candidate = with_predictions(
            Candidate(
                runtime=fallen.candidate.runtime,
                recipe=with_precisions(fallen.candidate.recipe, precisions),
                steps=self.request.techniques,
            ),
            self.analysis,
            self.request.profile,
        )
        layers = "1 layer" if len(kept) == 1 else f"{len(kept)} layers"
        return self.measure(f"{fallen.name}, {layers} at {above}", candidate)

    def _precision_above(self, fallen: Rung, above: Rung | None) -> tuple[Precision | None, str]:
        """Returns the precision that layers may keep beside the fallen rung's, and what it is called.

        That of the rung above, else the float that this format mixes with integers.
        """
        real = precisions_to_mix((), fallen.candidate.runtime)[-1]
        options: list[tuple[Precision, str]] = [(real, real)]
        if above is not None:
            options.insert(0, (above.candidate.recipe.default, above.name))
        refuse = why_not_made(self.changed or self.request.model, self.analysis)
        for precision, name in options:
            recipe = replace(fallen.candidate.recipe, overrides=(("*", precision),))
            if precision != fallen.candidate.recipe.default and refuse(fallen.candidate.runtime, recipe) is None:
                return precision, name
        return None, ""

    def _why_not(self, candidate: Candidate) -> str | None:
        """Returns why a rung is not made: the converter, the data, or no kernels worth the name."""
        reason = why_not_made(self.changed or self.request.model, self.analysis)(candidate.runtime, candidate.recipe)
        if reason is None and candidate.recipe.needs_calibration and self.inputs.calibration is None:
            reason = "it needs calibration data and the task has none; give --calibration"
        if reason is not None or candidate.recipe.default != "int4_weights":
            return reason
        share = four_bit_work(self.analysis, candidate.recipe, candidate.runtime)
        if share is None or share >= _FOUR_BIT_WORK:
            return None
        return (
            f"{candidate.runtime} has 4-bit kernels for linear layers only, and these do {100 * share:.1f} % of the "
            "work: the rest would stay at 8 bits and compute in float"
        )

    def _held(self, checks: Sequence[Check], candidate: Candidate) -> tuple[Check, ...]:
        """Returns the measurements against the budget, with the predicted latency in the place of none."""
        predicted = {item.name: item for item in candidate.predictions if item.name in ("latency", "latency_p95")}
        held: list[Check] = []
        for check in checks:
            limit, known = self.budget.get(check.name), predicted.get(check.name)
            if check.value is None and known is not None and known.value is not None:
                held.append(
                    judge(
                        check.name, known.value, limit, low=known.low, high=known.high, basis="predicted",
                        measured_on=f"predicted for {self.request.profile.name}", detail=known.basis,
                        runtime=check.runtime,
                    )
                )  # fmt: skip
                continue
            held.append(
                judge(
                    check.name, check.value, limit, low=check.low, high=check.high, basis=check.basis,
                    measured_on=check.measured_on, detail=check.detail, runtime=check.runtime,
                )
            )  # fmt: skip
        return complete(held, self.budget, candidate.runtime)
