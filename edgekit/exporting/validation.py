"""Validation of one artifact, also one made elsewhere: what is compared with what, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

from edgekit.artifact import Artifact, hash_files
from edgekit.budget import Budget
from edgekit.errors import EdgekitError, TechniqueError
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.exporting.export import lint_calibration, recorded_packages
from edgekit.exporting.finished_costs import finished_costs
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs, describe_data, read_inputs
from edgekit.exporting.judge import analysis_of_layers, describe_host, judge_artifact, judge_evidence
from edgekit.exporting.report import ExportReport, describe_environment, with_imported
from edgekit.measurements.imported_checks import check_belongs
from edgekit.measurements.measurement import Measurement
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import found_techniques
from edgekit.predict.latency import predict_latency
from edgekit.recipe import Prediction, Recipe
from edgekit.samples import Samples
from edgekit.task.image_input import embedded_image_input
from edgekit.task.task import Task, default_task
from edgekit.validators.execution import collect_evidence, describe_artifact, describe_operators
from edgekit.validators.precision_in_file import precision_in_file, recipe_in_file
from edgekit.validators.requested import (
    PRECISION_KEY,
    TECHNIQUES_KEY,
    Requested,
    read_requested,
    requested_settings,
)
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.cache import versions
from edgekit.workers.process_folder import temporary_folder

DEFAULT_KEY: Final = "edgekit.embedded_default"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What an artifact is judged for, and how it is run.

    Attributes:
        device: Name of the profile.
        budget: Limits.
        latency_models: The profile's, to predict the device's latency with.
        accelerators: Runtime to the device's accelerator for it (see `DeviceProfile.accelerators`).
        settings: How to run workers.
        run: How to run artifacts.
    """

    device: str
    budget: Budget
    latency_models: Mapping[str, Mapping[str, Any]]
    accelerators: Mapping[str, str]
    settings: Settings
    run: RunSettings


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An artifact with what it says about itself.

    Attributes:
        artifact: Its facts, the precision among them.
        requested: What was requested of it; None where it does not say.
        recipe: What it was made with, or what lies in it.
    """

    artifact: Artifact
    requested: Requested | None
    recipe: Recipe


def validate(
    path: Path,
    task: Task | None,
    *,
    device: str,
    budget: Budget,
    settings: Settings,
    cwd: Path,
    data: ArtifactData | None = None,
    measurements: Sequence[Measurement] = (),
    latency_models: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    accelerators: Mapping[str, str] = MappingProxyType({}),
) -> ExportReport:
    """Runs the artifact at `path` in its own runtime and judges it.

    Args:
        path: The artifact.
        task: Its float model and data; None without. An artifact of the embedded default brings its own.
        device: Name of the profile, for the report.
        budget: Limits.
        settings: How to run.
        cwd: Base of the embedded default's task.
        data: What to run it on where there is no float model; with evaluation data its own metric is shown. An
            artifact of the embedded default is judged on it, beside that model.
        measurements: Figures of this artifact from the device; they take the place of this machine's.
        latency_models: The profile's, to predict the device's latency with.
        accelerators: Runtime to the device's accelerator for it (see `DeviceProfile.accelerators`).

    Raises:
        DataError: a measurement of another device or artifact.
        EdgekitError: the artifact, the model or the data cannot be read or run.
    """
    if measurements:
        check_belongs(measurements, device, (hash_files(path)[1],), path.name)
    judgement = Judgement(
        device=device,
        budget=budget,
        latency_models=latency_models,
        accelerators=accelerators,
        settings=settings,
        run=RunSettings(
            timeout_s=settings.timeout_s,
            memory_limit_bytes=settings.memory_limit_bytes,
            threads=settings.threads,
            signature=settings.signature,
        ),
    )
    found = _find(path, judgement)
    if task is None and found.artifact.metadata.get(DEFAULT_KEY) == "true":
        task = (data or ArtifactData(base=cwd.absolute())).in_place_of(default_task(cwd))
        judgement = replace(judgement, budget=budget_of_artifact(budget, found.artifact.metadata, cwd))
    if task is None:
        report = _alone(found, judgement, data or ArtifactData(base=cwd))
    else:
        image = embedded_image_input(found.artifact.metadata)
        task = replace(task, image_input=image is not None)
        inputs = read_inputs(task, (found.artifact.runtime,), settings, image=image)
        report = _against_model(found, inputs, judgement)
    return with_imported(report, measurements, judgement.budget)


def _find(path: Path, judgement: Judgement) -> _Found:
    progress = judgement.settings.stage("artifact")
    artifact = describe_artifact(path, settings=judgement.run, progress=progress)
    requested = read_requested(artifact.metadata)
    if requested is not None:
        artifact = replace(artifact, precision=artifact.metadata[PRECISION_KEY])
        return _Found(artifact=artifact, requested=requested, recipe=requested.recipe)
    precision = precision_in_file(path, describe_operators(artifact, settings=judgement.run, progress=progress))
    return _Found(artifact=replace(artifact, precision=precision), requested=None, recipe=recipe_in_file(precision))


def _result(found: _Found) -> FormatResult:
    return FormatResult(
        runtime=found.artifact.runtime,
        recipe=found.recipe,
        artifact=found.artifact,
        found_precision="" if found.requested else found.artifact.precision,
    )


def _against_model(found: _Found, inputs: Inputs, judgement: Judgement) -> ExportReport:
    """Judges an artifact beside its float model."""
    artifact, settings = found.artifact, judgement.settings
    result = _result(found)
    try:
        predicted = _predict_from_model(found, inputs, judgement)
        result = replace(result, predictions=predicted)
        converted = _converted(artifact, inputs, settings)
        checks, host = judge_artifact(
            artifact,
            inputs,
            found.recipe,
            _budget_for(predicted, judgement.budget),
            settings,
            device=judgement.device,
            predicted_latency=next(iter(predicted), None),
            requested=_by_layer(found.requested, converted, inputs, settings),
            accelerator=judgement.accelerators.get(artifact.runtime, ""),
            converted=converted,
        )
    except EdgekitError as error:
        result = replace(result, error=error)
    else:
        result = replace(result, checks=checks, host=host)
    return ExportReport(
        command="validate",
        device=judgement.device,
        model=inputs.model,
        results=(result,),
        environment=describe_environment(versions(recorded_packages())),
        data=describe_data(inputs),
        folder=artifact.path.parent,
        calibration=lint_calibration(inputs, [found.recipe], settings),
    )


def _converted(artifact: Artifact, inputs: Inputs, settings: Settings) -> CapturedModel | EdgekitError | None:
    """Returns what the artifact's techniques have made of the float model, where an export here has left it."""
    pipeline = artifact.metadata.get(TECHNIQUES_KEY, "")
    if not pipeline:
        return None
    found = found_techniques(inputs.torch_model, pipeline, inputs.calibration, settings, inputs.task)
    return found or TechniqueError(
        f"The float model after its techniques ({pipeline}) is not in this machine's cache. Export here, and judge the "
        "folder with edgekit gate."
    )


def _by_layer(
    requested: Requested | None, converted: CapturedModel | EdgekitError | None, inputs: Inputs, settings: Settings
) -> Requested | None:
    """Returns what was requested with the layers distinguished: recurrent ones are asked for less than others."""
    if requested is None:
        return None
    if isinstance(converted, EdgekitError) and requested.knows_layers:
        return requested  # the model that the layers belong to is not here, and the file speaks of them
    changed = None if isinstance(converted, EdgekitError) else converted
    analysis = analysis_of_layers(requested.recipe, inputs, settings, changed)
    return requested_settings(requested.recipe, io=requested.io, analysis=analysis)


def budget_of_artifact(budget: Budget, metadata: Mapping[str, str], cwd: Path) -> Budget:
    """Returns the budget for an artifact that nobody named a model for: the demo's limits are for the demo's only."""
    if metadata.get(DEFAULT_KEY) != "true":
        return budget
    reported = [limit for limit in budget.limits if limit.source != "profile"]
    return budget.overridden_by(default_task(cwd).limits).overridden_by(reported)


def _budget_for(predicted: Sequence[Prediction], budget: Budget) -> Budget:
    """Returns the budget for an artifact, given what was predicted for it: its latency first, where anything was.

    Where nobody can tell the latency on the device, a limit that somebody set for this artifact stays what it is; the
    profile's own only warns then, or no artifact that was made elsewhere could pass.
    """
    limit = budget.get("latency")
    if limit is None or limit.source != "profile" or (predicted and predicted[0].value is not None):
        return budget
    return budget.with_level("latency", "warn")


def _predict_from_model(found: _Found, inputs: Inputs, judgement: Judgement) -> tuple[Prediction, ...]:
    """Returns what the float model's graph says about the artifact's latency on the device.

    A file made elsewhere is costed by its own graph: its kernels need not be the float model's.
    """
    if found.requested is None:
        return _predict_from_file(found, inputs.evaluation, judgement)
    analysis = analyze_model(inputs.model, judgement.settings)
    return predict_latency(analysis, found.recipe, found.artifact.runtime, judgement.latency_models, judgement.device)


def _predict_from_file(found: _Found, samples: Samples | None, judgement: Judgement) -> tuple[Prediction, ...]:
    """Returns what the file's own graph says; nothing where it cannot be read. `samples` give its free sizes."""
    try:
        costs = finished_costs(
            found.artifact,
            samples,
            judgement.settings,
            device=judgement.device,
            latency_models=judgement.latency_models,
        )
    except EdgekitError:
        return ()  # it still runs; only the prediction is missing, and the check of latency says so
    return costs.predictions if costs.recipe is not None else ()


def _alone(found: _Found, judgement: Judgement, data: ArtifactData) -> ExportReport:
    """Judges what can be judged without a float model: size, memory, latency, what it computes with, that it runs.

    With evaluation data its own metric is shown. Other rows only feed the file; its outputs on them are not judged.
    """
    artifact, settings = found.artifact, judgement.settings
    with temporary_folder("outputs") as folder:
        samples, origin = data.samples_for(artifact, folder / "samples", settings)
        predicted = _predict_from_file(found, samples, judgement) if found.requested is None else ()
        evidence = collect_evidence(
            artifact,
            folder=folder,
            evaluation=samples,
            metric=data.metric,
            metric_base=data.base,
            settings=judgement.run,
            progress=settings.stage(artifact.runtime),
            cache=settings.cache,
        )
        evidence = replace(
            evidence,
            requested=found.requested,
            accelerator=judgement.accelerators.get(artifact.runtime, ""),
            device=judgement.device,
            predicted_latency=next(iter(predicted), None),
        )
        if data.evaluation is None:
            evidence = replace(evidence, evaluation=None, outputs=None)
        result = replace(
            _result(found),
            predictions=predicted,
            checks=judge_evidence(evidence, _budget_for(predicted, judgement.budget)),
            host={**describe_host(evidence), **({"inputs": origin} if origin else {})},
        )
    return ExportReport(
        command="validate",
        device=judgement.device,
        model=None,
        results=(result,),
        environment=describe_environment(versions(recorded_packages())),
        folder=artifact.path.parent,
    )
