"""Does a finished file fit a device? Answered from the file alone: no float model, no data."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.analysis.finished_file import READ_FINISHED, FinishedFileRequest
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.exporting.export import recorded_packages
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.judge import describe_host, judge_evidence
from edgekit.exporting.report import ExportReport, describe_environment
from edgekit.formats.table import all_formats, find_format
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency import predict_latency
from edgekit.recipe import Prediction, Recipe
from edgekit.validators.execution import RunSettings, collect_evidence, describe_artifact
from edgekit.workers.cache import versions
from edgekit.workers.process_folder import temporary_folder

if TYPE_CHECKING:
    from edgekit.profiles.profile import DeviceProfile
    from edgekit.samples import Samples

NOT_JUDGED: Final = ("accuracy_drop", "slice_drop", "parity", "latency_p95")
"""Costs that a file alone says nothing about."""


def is_finished(path: Path) -> bool:
    """Returns True if a file is an artifact and no source of an export: an .onnx file only where it is quantized."""
    made = next((one for one in all_formats() if one.suffix == path.suffix.lower()), None)
    if made is None or not path.exists():
        return False
    if not made.marks_of_artifacts or path.is_dir() or not path.stat().st_size:
        return not made.marks_of_artifacts
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(mark) >= 0 for mark in made.marks_of_artifacts)


def fit(path: Path, data: ArtifactData, profile: DeviceProfile, budget: Budget, settings: Settings) -> ExportReport:
    """Returns a report about size, download, memory, latency and the operators off the fast path.

    The file is run three times on made-up values for its memory and its operators; its latency is predicted from its
    own graph and precisions. Accuracy is not judged.

    Args:
        path: The artifact.
        data: Sizes or data for inputs whose sizes the file leaves free.
        profile: The device.
        budget: Limits; those on accuracy are left out.
        settings: How to run.

    Raises:
        EdgekitError: the file cannot be loaded, or its sizes are free and nothing gives them.
    """
    run_settings = RunSettings(
        timeout_s=settings.timeout_s, memory_limit_bytes=settings.memory_limit_bytes, signature=settings.signature
    )
    artifact = describe_artifact(path, settings=run_settings, progress=settings.stage("artifact"))
    with temporary_folder("outputs") as folder:
        samples, origin = data.samples_for(artifact, folder / "samples", settings)
        evidence = collect_evidence(
            artifact,
            folder=folder,
            evaluation=samples,
            pieces=("memory",),
            settings=run_settings,
            progress=settings.stage(artifact.runtime),
        )
        recipe, latency = _predict(artifact, samples, profile, settings)
    artifact = replace(artifact, precision=recipe.name if recipe else artifact.precision)
    evidence = replace(
        evidence,
        artifact=artifact,
        device=profile.name,
        predicted_latency=latency[0],
        accelerator=profile.accelerators.get(artifact.runtime, ""),
    )
    judged = Budget(limits=tuple(limit for limit in budget.limits if limit.name not in NOT_JUDGED))
    result = FormatResult(
        runtime=artifact.runtime,
        recipe=recipe or Recipe(),
        artifact=artifact,
        checks=tuple(check for check in judge_evidence(evidence, judged) if check.name not in NOT_JUDGED),
        predictions=latency,
        host={**describe_host(evidence), **({"inputs": origin} if origin else {})},
    )
    return ExportReport(
        command="plan",
        device=profile.name,
        model=None,
        results=(result,),
        environment=describe_environment(versions(recorded_packages())),
        folder=path.parent,
    )


def _predict(
    artifact: Artifact, samples: Samples | None, profile: DeviceProfile, settings: Settings
) -> tuple[Recipe | None, tuple[Prediction, ...]]:
    """Returns the precisions that the file computes in, None where they cannot be read, and its latency."""
    reader = find_format(artifact.runtime).graph_reader
    if not reader:
        reason = f"not measured: edgekit reads no costs from a {artifact.path.suffix} file; measure it on the device"
        return None, (Prediction(name="latency", value=None, low=None, high=None, unit="ms", basis=reason),)
    sizes = {} if samples is None else dict(zip(samples.names, samples.shapes(), strict=True))
    request = FinishedFileRequest(reader=reader, path=artifact.path, sizes=sizes, signature=artifact.signature)
    found = settings.run("analysis of the file", READ_FINISHED, request, settings.stage("analysis")).value
    latency = predict_latency(found.analysis, found.recipe, artifact.runtime, profile.latency_model, profile.name)
    return found.recipe, latency
