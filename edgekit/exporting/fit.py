"""Does a finished file fit a device? Answered from the file alone: no float model, no data."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.budget import Budget
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.exporting.export import recorded_packages
from edgekit.exporting.finished_costs import finished_costs
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.judge import describe_host, judge_evidence
from edgekit.exporting.report import ExportReport, describe_environment
from edgekit.formats.table import all_formats
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.validators.execution import check_sizes, collect_evidence, describe_artifact
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.cache import versions
from edgekit.workers.process_folder import temporary_folder

if TYPE_CHECKING:
    from edgekit.profiles.profile import DeviceProfile

NOT_JUDGED: Final = ("accuracy_drop", "slice_drop", "parity", "latency_p95")
"""Costs that a file alone says nothing about."""


def is_finished(path: Path) -> bool:
    """Returns True if a file is an artifact and no source of an export: an .onnx file only where it is quantized."""
    made = next((one for one in all_formats() if path.suffix.lower() in one.suffixes), None)
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
        if samples is None:
            check_sizes(artifact)
        evidence = collect_evidence(
            artifact,
            folder=folder,
            evaluation=samples,
            pieces=("memory",),
            settings=run_settings,
            progress=settings.stage(artifact.runtime),
        )
        costs = finished_costs(artifact, samples, settings, device=profile.name, latency_models=profile.latency_model)
    artifact = replace(artifact, precision=costs.recipe.name if costs.recipe else artifact.precision)
    evidence = replace(
        evidence,
        artifact=artifact,
        device=profile.name,
        predicted_latency=costs.latency[0],
        evaluation=None,  # made-up values or sizes: they feed the file, and nothing is judged on them
        accelerator=profile.accelerators.get(artifact.runtime, ""),
    )
    judged = Budget(limits=tuple(limit for limit in budget.limits if limit.name not in NOT_JUDGED))
    result = FormatResult(
        runtime=artifact.runtime,
        recipe=costs.recipe or Recipe(),
        artifact=artifact,
        checks=tuple(check for check in judge_evidence(evidence, judged) if check.name not in NOT_JUDGED),
        predictions=costs.predictions,
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
