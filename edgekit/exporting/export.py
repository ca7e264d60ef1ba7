"""Exports: converts what a plan chose, side by side, runs every artifact in its own runtime, and judges it.

One format that fails does not stop the others: it is named with its reason, and the exit code is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.converters.base import IoType
from edgekit.errors import EdgekitError, ResourceError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs, artifact_metadata, describe_data
from edgekit.exporting.judge import MEASURED_NOW, ArtifactRuns, judge_artifact, what_was_requested
from edgekit.exporting.report import ExportReport, describe_environment
from edgekit.exporting.stage_table import EvaluationReference, StageTable, stage_table
from edgekit.formats.table import all_formats
from edgekit.model import CapturedModel
from edgekit.pipeline.convert import Converted, convert
from edgekit.pipeline.lint_report import calibration_report
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import Changes, change_models, pipeline_name
from edgekit.recipe import Candidate, Recipe, Rejection
from edgekit.workers.atomic_files import copy_atomically
from edgekit.workers.cache import versions

_ALWAYS_RECORDED: Final = ("numpy", "tensorflow", "tensorflow-cpu", "tf2onnx", "torch", "torchao")


def recorded_packages() -> tuple[str, ...]:
    """Returns whose versions go into the report and the lock: each of them can change an artifact's bytes."""
    return tuple(sorted({*_ALWAYS_RECORDED, *(name for one in all_formats() for name in one.records)}))


def export(
    inputs: Inputs,
    candidates: Sequence[Candidate],
    *,
    device: str,
    budget: Budget,
    folder: Path,
    settings: Settings,
    io: IoType = "float",
    rejected: Sequence[Rejection] = (),
    accelerators: Mapping[str, str] = MappingProxyType({}),
    done: Callable[[str, str], None] = lambda _stage, _phrase: None,
    predict_changed: Callable[[Candidate, CapturedModel], Candidate] = lambda candidate, _model: candidate,
    runs: ArtifactRuns = MEASURED_NOW,
) -> ExportReport:
    """Makes, runs and judges one artifact for each candidate.

    Args:
        inputs: The model and its data.
        candidates: What to make, one for each format.
        device: Name of the profile, for the report.
        budget: Limits.
        folder: Where the artifacts go; it can be written.
        settings: How to run.
        io: Types of the artifacts' inputs and outputs.
        rejected: Candidates that the planner rejected, for the report.
        accelerators: Runtime to the device's accelerator for it (see `DeviceProfile.accelerators`).
        done: Callback that gets (stage, phrase) when a format has been made.
        predict_changed: Given a candidate and the model that its techniques have made, returns it with that model's
            predictions; for candidates whose predictions are those of the model before.
        runs: How the artifacts are run.

    Raises:
        KeyboardInterrupt: after every worker was ended.
    """
    changes = _changes(inputs, candidates, settings)
    candidates = [_predicted(candidate, changes, predict_changed) for candidate in candidates]
    made = _convert(inputs, candidates, changes, settings, io, done)
    results: list[FormatResult] = []
    for candidate, outcome in zip(candidates, made, strict=True):
        result = FormatResult(
            runtime=candidate.runtime,
            recipe=candidate.recipe,
            steps=candidate.steps,
            predictions=candidate.predictions,
        )
        if isinstance(outcome, EdgekitError):
            results.append(replace(result, error=outcome))
            continue
        artifact = _place(outcome.artifact, inputs.model.name, folder)
        result = replace(
            result, artifact=artifact, conversion=outcome.conversion, seconds=outcome.seconds, cached=outcome.cached
        )
        try:
            checks, host = judge_artifact(
                artifact,
                inputs,
                candidate.recipe,
                budget,
                settings,
                device=device,
                predicted_latency=candidate.prediction("latency"),
                requested=what_was_requested(inputs, candidate, io, settings, _last_model(changes, candidate)),
                accelerator=accelerators.get(candidate.runtime, ""),
                converted=_last_model(changes, candidate),
                runs=runs,
            )
        except EdgekitError as error:
            results.append(replace(result, error=error))
        else:
            results.append(replace(result, checks=checks, host=host))
    return ExportReport(
        command="export",
        device=device,
        model=inputs.model,
        results=tuple(results),
        rejected=tuple(rejected),
        environment=describe_environment(versions(recorded_packages())),
        data=describe_data(inputs),
        folder=folder,
        calibration=lint_calibration(inputs, [candidate.recipe for candidate in candidates], settings),
        io=io,
        stages=_stage_tables(inputs, changes, results, settings),
    )


def _last_model(changes: Changes, candidate: Candidate) -> CapturedModel | None:
    """Returns what the candidate's techniques have made of the float model; None where it has none."""
    applied = changes.get(pipeline_name(candidate.techniques))
    return applied[-1].model if applied and not isinstance(applied, EdgekitError) else None


def _stage_tables(
    inputs: Inputs, changes: Changes, results: Sequence[FormatResult], settings: Settings
) -> tuple[StageTable, ...]:
    """Returns the table by stage of each pipeline of techniques that a format was made with."""
    evaluation, task = inputs.evaluation, inputs.task
    evaluated_on = EvaluationReference(
        evaluation=evaluation, reference=inputs.reference, metric=task.metric, base=task.base
    )
    tables: list[StageTable] = []
    for name, applied in changes.items():
        if isinstance(applied, EdgekitError) or isinstance(inputs.torch_model, EdgekitError):
            continue  # the formats' own errors say so
        of_it = [item for item in results if pipeline_name(item.techniques) == name]
        tables.append(stage_table(name, inputs.torch_model, applied, of_it, evaluated_on, settings))
    return tuple(tables)


def lint_calibration(inputs: Inputs, recipes: Sequence[Recipe], settings: Settings) -> Mapping[str, object] | None:
    """Returns what the lint says about the calibration data, None where no recipe uses any."""
    if not any(recipe.needs_calibration for recipe in recipes):
        return None
    return calibration_report(
        inputs.model, inputs.calibration, inputs.evaluation, inputs.reference, inputs.task.metric, settings
    )


def convert_candidates(
    inputs: Inputs,
    candidates: Sequence[Candidate],
    settings: Settings,
    io: IoType,
    done: Callable[[str, str], None],
) -> list[Converted | EdgekitError]:
    """Returns what came of each candidate, converted side by side, `settings.jobs` at a time; a failure is a value."""
    return _convert(inputs, candidates, _changes(inputs, candidates, settings), settings, io, done)


def _changes(inputs: Inputs, candidates: Sequence[Candidate], settings: Settings) -> Changes:
    """Returns what the candidates' techniques make of the model, once for all formats."""
    pipelines = [candidate.techniques for candidate in candidates]
    return change_models(inputs.torch_model, pipelines, inputs.calibration, settings, inputs.task)


def _predicted(
    candidate: Candidate, changes: Changes, predict_changed: Callable[[Candidate, CapturedModel], Candidate]
) -> Candidate:
    applied = changes.get(pipeline_name(candidate.techniques))
    # Of techniques that failed there is no model, and the format's own error says so.
    return (
        candidate if not applied or isinstance(applied, EdgekitError) else predict_changed(candidate, applied[-1].model)
    )


def _convert(
    inputs: Inputs,
    candidates: Sequence[Candidate],
    changes: Changes,
    settings: Settings,
    io: IoType,
    done: Callable[[str, str], None],
) -> list[Converted | EdgekitError]:

    def one(candidate: Candidate) -> Converted | EdgekitError:
        try:
            applied = changes.get(pipeline_name(candidate.techniques))
            if isinstance(applied, EdgekitError):
                raise applied
            model = applied[-1].model if applied else inputs.model_for(candidate.runtime)
            converted = convert(
                model,
                candidate.runtime,
                candidate.recipe,
                inputs.calibration,
                settings,
                io=io,
                metadata=artifact_metadata(inputs, candidate.techniques, candidate.recipe),
                image=inputs.image_for(candidate.runtime),
            )
        except EdgekitError as error:
            done(candidate.runtime, f"failed: {error.message.splitlines()[0]}")
            return error
        found = "found in the cache" if converted.cached else "converted"
        done(candidate.runtime, f"{found}: {candidate.recipe.name}")
        return converted

    with ThreadPoolExecutor(max_workers=settings.jobs) as pool:
        futures = [pool.submit(one, candidate) for candidate in candidates]
        return _results(futures, settings)


def _results(futures: Sequence[Future[Converted | EdgekitError]], settings: Settings) -> list[Converted | EdgekitError]:
    """Waits for all; on Ctrl-C tells the workers' watchers to end them, so that nothing runs on."""
    try:
        return [future.result() for future in futures]
    except BaseException:
        settings.cancelled.set()
        for future in futures:
            future.cancel()
        raise


def _place(artifact: Artifact, name: str, folder: Path) -> Artifact:
    """Copies an artifact from the cache into the output folder, whole or not at all."""
    target = folder / f"{name}-{artifact.precision}{artifact.path.suffix}"
    try:
        copy_atomically(artifact.path, target)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}.") from error
    return replace(artifact, path=target)
