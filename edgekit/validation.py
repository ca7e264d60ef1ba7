"""Validation of one artifact, also one made elsewhere: what is compared with what, and what cannot be."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import Budget
from edgekit.cache import versions
from edgekit.errors import EdgekitError
from edgekit.export import (
    REPORTED_PACKAGES,
    Inputs,
    describe_data,
    describe_host,
    judge_artifact,
    judge_evidence,
    lint_calibration,
    read_inputs,
)
from edgekit.export_report import ExportReport, FormatResult, describe_environment, with_imported
from edgekit.measurements.imported_checks import check_belongs
from edgekit.measurements.measurement import Measurement
from edgekit.pipeline import Settings
from edgekit.plan import Recipe, precision_named
from edgekit.task import Task, default_task
from edgekit.validators.execution import RunSettings, collect_evidence, describe_artifact

DIGEST_KEY: Final = "edgekit.digest"
DEFAULT_KEY: Final = "edgekit.embedded_default"
PRECISION_KEY: Final = "edgekit.precision"


def validate(
    path: Path,
    task: Task | None,
    *,
    device: str,
    budget: Budget,
    settings: Settings,
    cwd: Path,
    measurements: Sequence[Measurement] = (),
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

    Raises:
        DataError: a measurement of another device or artifact.
        EdgekitError: the artifact, the model or the data cannot be read or run.
    """
    if measurements:
        check_belongs(measurements, device, (measure_files(path)[2],), path.name)
    report = _validate(path, task, device=device, budget=budget, settings=settings, cwd=cwd)
    return with_imported(report, measurements, budget)


def _validate(
    path: Path, task: Task | None, *, device: str, budget: Budget, settings: Settings, cwd: Path
) -> ExportReport:
    run_settings = RunSettings(
        timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes, threads=settings.threads
    )
    artifact = describe_artifact(path, settings=run_settings, progress=settings.stage("artifact"))
    artifact = replace(artifact, precision=artifact.metadata.get(PRECISION_KEY, "unknown"))
    if task is None and artifact.metadata.get(DEFAULT_KEY) == "true":
        task = default_task(cwd)
    recipe = Recipe(default=precision_named(artifact.precision) or "fp32")
    if task is None:
        return _alone(artifact, recipe, device, budget, settings, run_settings)
    inputs = read_inputs(task, (artifact.runtime,), settings)
    note = _mismatch(artifact, inputs)
    result = FormatResult(runtime=artifact.runtime, recipe=recipe, artifact=artifact)
    try:
        checks, host = judge_artifact(artifact, inputs, recipe, budget, settings)
    except EdgekitError as error:
        result = replace(result, error=error)
    else:
        result = replace(result, checks=checks, host={**host, **({"note": note} if note else {})})
    return ExportReport(
        command="validate",
        device=device,
        model=inputs.model,
        results=(result,),
        environment=describe_environment(versions(REPORTED_PACKAGES)),
        data=describe_data(inputs),
        folder=path.parent,
        calibration=lint_calibration(inputs, [recipe], settings),
    )


def _alone(
    artifact: Artifact, recipe: Recipe, device: str, budget: Budget, settings: Settings, run_settings: RunSettings
) -> ExportReport:
    """Judges what can be judged without a float model and data: size, memory, and that it runs at all."""
    with tempfile.TemporaryDirectory(prefix="edgekit-outputs-") as folder:
        evidence = collect_evidence(
            artifact, folder=Path(folder), settings=run_settings, progress=settings.stage(artifact.runtime)
        )
        result = FormatResult(
            runtime=artifact.runtime,
            recipe=recipe,
            artifact=artifact,
            checks=judge_evidence(evidence, budget),
            host=describe_host(evidence),
        )
    return ExportReport(
        command="validate",
        device=device,
        model=None,
        results=(result,),
        environment=describe_environment(versions(REPORTED_PACKAGES)),
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
