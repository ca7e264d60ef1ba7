"""Trials of candidates before the choice: simulated on calibration data, layer by layer, or exported and run.

Each result is kept in the cache as soon as it is there: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.exporting.inputs import Inputs, artifact_metadata
from edgekit.exporting.judge import judge_artifact
from edgekit.metrics.metric_function import MetricFunction
from edgekit.metrics.table import find_metric
from edgekit.model import CapturedModel
from edgekit.pipeline.convert import convert
from edgekit.pipeline.settings import Settings
from edgekit.planner.mixed_search import expected_points
from edgekit.planner.plan import LayerLoss
from edgekit.recipe import Candidate, Precision, Prediction, Recipe
from edgekit.registry import validator_targets
from edgekit.samples import Samples
from edgekit.simulation.jobs import (
    MEASURE,
    SIMULATE,
    RecipeTrial,
    Sensitivity,
    SensitivityRequest,
    SimulatedRecipe,
    SimulationData,
    SimulationRequest,
)
from edgekit.simulation.realisation import why_not_simulated
from edgekit.task.metric_text import metric_title, parse_metric_text
from edgekit.task.reference_digest import reference_digest
from edgekit.task.task import Task
from edgekit.units import format_value
from edgekit.workers.journal_parts import read_part, write_part
from edgekit.workers.request_key import ValidatorName, request_key
from edgekit.workers.structure import read_value, write_value

_RESULT: Final = "result"
_CHECKS: Final = "checks.json"
_SIMULATION_CODE: Final = ("edgekit.simulation.jobs",)
_VALIDATION_CODE: Final = ("edgekit.exporting.judge", "edgekit.validators")
"""The package as a whole: runners are started and rules are read by their paths."""

PARITY_ERROR_DB: Final = 2.5
"""Half width of the band of a simulated ratio: what the tests allow between simulated and converted."""


def simulate_candidates(
    candidates: Sequence[Candidate],
    task: Task,
    data: SimulationData,
    settings: Settings,
    siblings: Sequence[str] = (),
) -> tuple[SimulatedRecipe, ...]:
    """Returns what simulating each candidate's recipe gave.

    Args:
        candidates: Their techniques have been carried out in `data.model` already.
        task: For its metric.
        data: The model and its samples.
        settings: How to run.
        siblings: Formats that are planned afterwards: their simulations of the same recipes are made by the same
            worker, which has the model open and the float outputs, and are found in the cache then.
    """
    metric_sha256 = _metric_digest(task)
    journal = settings.cache.journal("simulations", request_key(data, code=_SIMULATION_CODE, tools=SIMULATE.tools))
    trials = [
        RecipeTrial(runtime=item.runtime, recipe=item.recipe, metric=task.metric, metric_sha256=metric_sha256)
        for item in candidates
    ]
    progress = settings.stage("simulate")
    found = [read_part(journal, trial.name, SimulatedRecipe, progress) for trial in trials]
    if all(item is not None for item in found):
        return tuple(item for item in found if item is not None)
    others = [name for name in siblings if why_not_simulated(name, "pt2") is None]
    more = [replace(trial, runtime=name) for trial in trials for name in others if name != trial.runtime]
    request = SimulationRequest(data=data, journal=journal, base=task.base, trials=tuple(dict.fromkeys(trials + more)))
    return settings.run("simulation of the recipes", SIMULATE, request, progress).value.results[: len(trials)]


def simulated_predictions(
    result: SimulatedRecipe, task: Task, samples: Samples, kind: str = "calibration"
) -> tuple[Prediction, ...]:
    """Returns the predictions that a simulation makes: of the accuracy where the metric could be taken, of parity."""
    ratio = result.sqnr_db
    basis = f"simulated on {samples.items} {kind} samples"
    made = [
        Prediction(
            name="parity", value=ratio, low=ratio - PARITY_ERROR_DB, high=ratio + PARITY_ERROR_DB, unit="dB",
            basis=basis, evidence="simulated",
        )
    ]  # fmt: skip
    drop = result.drop
    if drop is None:
        reason = f"not measured: {result.reason}"
        return (*made, Prediction(name="accuracy_drop", value=None, low=None, high=None, unit="pp", basis=reason))
    value, low = drop.value, drop.low
    if drop.metric != task.metric:
        basis += f" as {metric_title(drop.metric)}, for they have no targets"
        if find_metric(task.metric, task.base).stand_in_overstates and value is not None:
            value, low = value / 2, 0.0
            basis += "; half of the changed decisions count"
    made.append(
        Prediction(
            name="accuracy_drop", value=value, low=low, high=drop.high, unit="pp", basis=basis, evidence="simulated"
        )
    )
    return tuple(made)


PRIOR_SAMPLES: Final = 30
"""So many samples weigh as much as what other models lost: below it, a decision or two make several points."""


def weighed(simulated: Sequence[Prediction], expected: Prediction | None, samples: int) -> tuple[Prediction, ...]:
    """Returns the predictions with a drop that few samples say brought nearer to what other models lost.

    The mean of a beta distribution whose prior has the expected drop as its mean and counts as `PRIOR_SAMPLES`
    decisions (Gelman et al., "Bayesian Data Analysis", 3rd ed., section 2.4); the ends of the band are brought nearer
    in the same way.

    Args:
        simulated: As `simulated_predictions` made them.
        expected: What was expected before the simulation, from other models or from more samples; None where nothing
            was.
        samples: How many samples the simulated drop is about.
    """
    if expected is None or expected.value is None or expected.evidence not in ("expected", "simulated"):
        return tuple(simulated)
    other = "what other models lost" if expected.evidence == "expected" else "what was simulated before the change"
    share = samples / (samples + PRIOR_SAMPLES)

    def between(mine: float | None, prior: float | None) -> float | None:
        return mine if mine is None or prior is None else share * mine + (1 - share) * prior

    def nearer(item: Prediction) -> Prediction:
        if item.name != "accuracy_drop" or item.value is None or not math.isfinite(item.value):
            return item
        return replace(
            item,
            value=between(item.value, expected.value),
            low=between(item.low, expected.low),
            high=between(item.high, expected.high),
            basis=f"{item.basis} ({format_value(item.value, item.unit)}), which count {share:.0%} beside {other}",
        )

    return tuple(map(nearer, simulated))


def measure_layers(
    base: Candidate,
    precisions: Sequence[Precision],
    task: Task,
    model: CapturedModel,
    samples: Samples,
    settings: Settings,
) -> tuple[LayerLoss, ...]:
    """Returns what each module loses in each of the integer `precisions`, all others in float."""
    return measure_noise(base, precisions, task, model, samples, settings).layers


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNoises:
    """What was measured about layers by simulation on calibration data.

    Attributes:
        layers: What each module loses in each precision.
        margins: Distance of the best two scores of each sample; None where the metric is not about the best score.
    """

    layers: tuple[LayerLoss, ...]
    margins: tuple[float, ...] | None


def measure_noise(
    base: Candidate,
    precisions: Sequence[Precision],
    task: Task,
    model: CapturedModel,
    samples: Samples,
    settings: Settings,
) -> LayerNoises:
    """Returns what `measure_layers` does, with the margins that tell how noise becomes changed decisions."""
    common = replace(base.recipe, default="fp32", overrides=(), symmetric_activations=False)
    request = SensitivityRequest(
        data=SimulationData(model=model, samples=samples),
        runtime=base.runtime,
        recipe=common,
        precisions=tuple(precisions),
        metric=task.metric,
        metric_sha256=_metric_digest(task),
        base=task.base,
        journal=Path(),
    )
    journal = settings.cache.journal("simulations", MEASURE.key(request))
    progress = settings.stage("layers")
    found = read_part(journal, _RESULT, Sensitivity, progress)
    if found is None:
        placed = replace(request, journal=journal)
        found = settings.run("measuring of the layers", MEASURE, placed, progress).value
        write_part(journal, _RESULT, found)
    layers = tuple(
        LayerLoss(
            module=item.module,
            precision=item.precision,
            noise=item.noise,
            points=expected_points(item.noise, found.margins) if item.points is None else item.points,
            metric="" if item.points is None else found.metric,
        )
        for item in found.layers
    )
    return LayerNoises(layers=layers, margins=found.margins)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRequest:
    """What the checks of an artifact depend on.

    Attributes:
        artifact_sha256: SHA-256 of the artifact.
        runtime: Its format.
        recipe: What it was made with.
        model: The float model.
        evaluation: None where the task has none.
        metric: The task's.
        metric_sha256: Hash of the file of a `metrics.py:function`, None for a built-in metric.
        validators: Names of all validators.
    """

    artifact_sha256: str
    runtime: str
    recipe: Recipe
    model: CapturedModel
    evaluation: Samples | None
    metric: str
    metric_sha256: str | None
    validators: tuple[ValidatorName, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The checks of an artifact, held against no limit."""

    checks: tuple[Check, ...]


def export_candidate(
    candidate: Candidate, inputs: Inputs, settings: Settings, changed: CapturedModel | None = None
) -> tuple[Check, ...]:
    """Returns the checks of the candidate's artifact, made and run like an export's, or found in the cache.

    Args:
        candidate: What to make.
        inputs: The model and its data.
        settings: How to run.
        changed: What the candidate's techniques have made of the model; None where it has none.

    Raises:
        EdgekitError: it cannot be made or run.
    """
    converted = convert(
        changed or inputs.model_for(candidate.runtime),
        candidate.runtime,
        candidate.recipe,
        inputs.calibration,
        settings,
        metadata=artifact_metadata(inputs, candidate.techniques, candidate.recipe),
        image=inputs.image_for(candidate.runtime),
    )
    if isinstance(inputs.task.metric, MetricFunction):
        # A function in memory has no digest that says what its verdict depends on.
        return judge_artifact(converted.artifact, inputs, candidate.recipe, Budget(), settings, converted=changed)[0]
    request = ValidationRequest(
        artifact_sha256=converted.artifact.sha256,
        runtime=candidate.runtime,
        recipe=candidate.recipe,
        model=inputs.model,
        evaluation=inputs.evaluation,
        metric=inputs.task.metric,
        metric_sha256=_metric_digest(inputs.task),
        validators=tuple(validator_targets()),
    )

    def build(place: Path) -> None:
        # Without limits: what was measured is kept, and held against the limits of each plan.
        checks, _ = judge_artifact(converted.artifact, inputs, candidate.recipe, Budget(), settings, converted=changed)
        write_value(place / _CHECKS, Judged(checks=checks))

    folder = settings.cache.make("validations", request_key(request, code=_VALIDATION_CODE), build)
    return read_value(folder / _CHECKS, Judged).checks


def measured_predictions(checks: Sequence[Check], names: Sequence[str]) -> tuple[Prediction, ...]:
    """Returns what was measured as predictions of the costs `names`; a later export will measure the same."""
    return tuple(
        Prediction(
            name=check.name,
            value=check.value,
            low=check.low,
            high=check.high,
            unit=check.unit,
            basis=f"measured on {check.measured_on}",
            evidence="measured",
        )
        for check in checks
        if check.name in names and check.value is not None
    )


def _metric_digest(task: Task) -> str | None:
    """Returns the hash of the file of a `metrics.py:function`, None for a built-in metric."""
    return reference_digest(task.metric, task.base) if parse_metric_text(task.metric) is None else None
