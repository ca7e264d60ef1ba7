"""Validation of one artifact, also one made elsewhere: what is compared with what, and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import Budget
from edgekit.errors import EdgekitError
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.exporting.export import lint_calibration, recorded_packages
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs, describe_data, read_inputs
from edgekit.exporting.judge import describe_host, judge_artifact, judge_evidence
from edgekit.exporting.report import ExportReport, describe_environment, with_imported
from edgekit.measurements.imported_checks import check_belongs
from edgekit.measurements.measurement import Measurement
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency import predict_latency
from edgekit.recipe import Prediction, Recipe
from edgekit.task.task import Task, default_task
from edgekit.validators.execution import RunSettings, collect_evidence, describe_artifact
from edgekit.validators.requested import PRECISION_KEY, Requested, read_requested, requested_settings
from edgekit.workers.cache import versions
from edgekit.workers.process_folder import temporary_folder

DIGEST_KEY: Final = "edgekit.digest"
DEFAULT_KEY: Final = "edgekit.embedded_default"


def validate(
    path: Path,
    task: Task | None,
    *,
    device: str,
    budget: Budget,
    settings: Settings,
    cwd: Path,
    measurements: Sequence[Measurement] = (),
    latency_models: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    accelerators: Mapping[str, str] = MappingProxyType({}),
    data: ArtifactData | None = None,
) -> ExportReport:
    """Runs the artifact at `path` in its own runtime and judges it.

    Args:
        path: The artifact.
        task: Its float model and data; None without. An artifact of the embedded default brings its own.
        device: Name of the profile, for the report.
        budget: Limits.
        settings: How to run.
        cwd: Base of the embedded default's task.
        measurements: Figures of this artifact from the device; they take the place of this machine's.
        latency_models: The profile's, to predict the device's latency with.
        accelerators: Runtime to the device's accelerator for it (see `DeviceProfile.accelerators`).
        data: What to run it on where there is no task.

    Raises:
        DataError: a measurement of another device or artifact.
        EdgekitError: the artifact, the model or the data cannot be read or run.
    """
    if measurements:
        check_belongs(measurements, device, (measure_files(path)[2],), path.name)
    report = _validate(
        path,
        task,
        device=device,
        budget=budget,
        settings=settings,
        cwd=cwd,
        latency_models=latency_models,
        accelerators=accelerators,
        data=data,
    )
    return with_imported(report, measurements, budget)


def _validate(
    path: Path,
    task: Task | None,
    *,
    device: str,
    budget: Budget,
    settings: Settings,
    cwd: Path,
    latency_models: Mapping[str, Mapping[str, Any]],
    accelerators: Mapping[str, str],
    data: ArtifactData | None,
) -> ExportReport:
    run_settings = RunSettings(
        timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes, threads=settings.threads
    )
    artifact = describe_artifact(path, settings=run_settings, progress=settings.stage("artifact"))
    artifact = replace(artifact, precision=artifact.metadata.get(PRECISION_KEY, "unknown"))
    if task is None and artifact.metadata.get(DEFAULT_KEY) == "true":
        task = default_task(cwd)
        budget = budget_of_artifact(budget, artifact.metadata, cwd)
    asked = read_requested(artifact.metadata)
    recipe = asked.recipe if asked else Recipe()
    accelerator = accelerators.get(artifact.runtime, "")
    if task is None:
        given = data or ArtifactData(base=cwd)
        return _alone(artifact, given, asked, accelerator, device, budget, settings, run_settings)
    inputs = read_inputs(task, (artifact.runtime,), settings)
    note = _mismatch(artifact, inputs)
    result = FormatResult(runtime=artifact.runtime, recipe=recipe, artifact=artifact)
    try:
        predicted = _predict(inputs, recipe, artifact, device, latency_models, settings)
        result = replace(result, predictions=predicted)
        latency = next(iter(predicted), None)
        judged_by = budget if latency is not None and latency.value is not None else _unpredicted(budget)
        checks, host = judge_artifact(
            artifact,
            inputs,
            recipe,
            judged_by,
            settings,
            device=device,
            predicted_latency=latency,
            asked=_by_layer(asked, inputs, settings),
            accelerator=accelerator,
        )
    except EdgekitError as error:
        result = replace(result, error=error)
    else:
        result = replace(result, checks=checks, host={**host, **({"note": note} if note else {})})
    return ExportReport(
        command="validate",
        device=device,
        model=inputs.model,
        results=(result,),
        environment=describe_environment(versions(recorded_packages())),
        data=describe_data(inputs),
        folder=path.parent,
        calibration=lint_calibration(inputs, [recipe], settings),
    )


def _by_layer(asked: Requested | None, inputs: Inputs, settings: Settings) -> Requested | None:
    """Returns what was asked for with the layers told apart, where the recipe treats them differently."""
    if asked is None or not asked.recipe.overrides:
        return asked
    return requested_settings(asked.recipe, io=asked.io, analysis=analyze_model(inputs.model, settings))


def budget_of_artifact(budget: Budget, metadata: Mapping[str, str], cwd: Path) -> Budget:
    """Returns the budget for an artifact that nobody named a model for: the demo's limits are for the demo's only."""
    if metadata.get(DEFAULT_KEY) != "true":
        return budget
    told = [limit for limit in budget.limits if limit.source != "profile"]
    return budget.overridden_by(default_task(cwd).limits).overridden_by(told)


def _unpredicted(budget: Budget) -> Budget:
    """Returns the budget for an artifact whose latency on the device nobody can tell.

    A limit that somebody set for this artifact stays what it is; the profile's own only warns then, or no artifact that
    was made elsewhere could pass.
    """
    limit = budget.get("latency")
    return budget.with_level("latency", "warn") if limit is not None and limit.source == "profile" else budget


def _predict(
    inputs: Inputs,
    recipe: Recipe,
    artifact: Artifact,
    device: str,
    latency_models: Mapping[str, Mapping[str, Any]],
    settings: Settings,
) -> tuple[Prediction, ...]:
    """Returns what the float model's graph says about the artifact's latency on the device.

    Nothing where the artifact does not tell its precision, as one made elsewhere: its kernels are not known then.
    """
    if PRECISION_KEY not in artifact.metadata:
        return ()
    analysis = analyze_model(inputs.model, settings)
    return predict_latency(analysis, recipe, artifact.runtime, latency_models, device)


def _alone(
    artifact: Artifact,
    data: ArtifactData,
    asked: Requested | None,
    accelerator: str,
    device: str,
    budget: Budget,
    settings: Settings,
    run_settings: RunSettings,
) -> ExportReport:
    """Judges what can be judged without a float model: size, memory, what it computes with, that it runs."""
    with temporary_folder("outputs") as folder:
        samples, origin = data.samples_for(artifact, folder / "samples", settings)
        evidence = collect_evidence(
            artifact,
            folder=folder,
            evaluation=samples,
            metric=data.metric,
            metric_base=data.base,
            settings=run_settings,
            progress=settings.stage(artifact.runtime),
        )
        evidence = replace(evidence, asked=asked, accelerator=accelerator)
        result = FormatResult(
            runtime=artifact.runtime,
            recipe=asked.recipe if asked else Recipe(),
            artifact=artifact,
            checks=judge_evidence(evidence, _unpredicted(budget)),
            host={**describe_host(evidence), **({"inputs": origin} if origin else {})},
        )
    return ExportReport(
        command="validate",
        device=device,
        model=None,
        results=(result,),
        environment=describe_environment(versions(recorded_packages())),
        folder=artifact.path.parent,
    )


def _mismatch(artifact: Artifact, inputs: Inputs) -> str:
    """Returns a warning where the artifact says that it was made from another model, else ""."""
    digest = artifact.metadata.get(DIGEST_KEY)
    if digest is None or digest in (inputs.model.digest, getattr(inputs.torch_model, "digest", None)):
        return ""
    return (
        f"The artifact was made from a model with digest {digest[:12]}; the model given here has "
        f"{inputs.model.digest[:12]}. The comparison is between two models."
    )
