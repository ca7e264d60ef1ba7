"""Exports: converts what a plan chose, side by side, runs every artifact in its own runtime, and judges it.

One format that fails does not stop the others: it is named with its reason, and the exit code is not 0.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, final

from edgekit import registry
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.cache import versions
from edgekit.calibration_report import calibration_report
from edgekit.converters.base import IoType
from edgekit.embedded import CALIBRATION_KEY, LABELS_KEY, PREPROCESSING_KEY
from edgekit.errors import EdgekitError, ResourceError
from edgekit.export_report import ExportReport, FormatResult, describe_environment
from edgekit.model import CapturedModel
from edgekit.pipeline import (
    Converted,
    Settings,
    analyze_model,
    capture_model,
    convert,
    prepare_samples,
    reference_outputs,
)
from edgekit.plan import Candidate, Prediction, Recipe, Rejection, Step
from edgekit.preprocessing import known_preprocessing
from edgekit.report import Check, complete
from edgekit.samples import Samples
from edgekit.stages import StageTable, Yardstick, stage_table
from edgekit.task import Task
from edgekit.technique_stage import Changes, change_models, pipeline_name
from edgekit.validators.accuracy import describe_accuracy
from edgekit.validators.artifact_operators import count_by_arithmetic
from edgekit.validators.asked import Asked, asked_for
from edgekit.validators.base import Evidence
from edgekit.validators.execution import Piece, RunSettings, collect_evidence
from edgekit.validators.host_timing import host_timing
from edgekit.validators.slices import describe_slices
from edgekit.whole_files import copy_whole

REPORTED_PACKAGES: Final = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "coremltools",
    "executorch",
    "litert-torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "tensorflow",
    "tensorflow-cpu",
    "tf2onnx",
    "torch",
    "torchao",
)
"""Whose versions go into the report and the lock: each of them can change an artifact's bytes."""

_FLOAT: Final = Recipe(default="fp32")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What an export works on, once the user's code has run.

    Attributes:
        task: The task.
        model: The float model.
        torch_model: The same captured as an exported program, for the formats that start from torch; equal to `model`
            unless the source is an ONNX file.
        calibration: None where the task names none.
        evaluation: None where the task names none.
        reference: The float model's outputs on `evaluation`.
    """

    task: Task
    model: CapturedModel
    torch_model: CapturedModel | EdgekitError
    calibration: Samples | None
    evaluation: Samples | None
    reference: Samples | None

    def model_for(self, runtime: str) -> CapturedModel:
        """Returns the captured model that the converter of `runtime` starts from.

        Raises:
            ModelError: the source cannot be turned into what that converter needs.
        """
        if runtime == "onnx" or self.model.kind != "onnx":
            return self.model
        if isinstance(self.torch_model, EdgekitError):
            raise self.torch_model
        return self.torch_model


def read_inputs(
    task: Task,
    runtimes: Sequence[str],
    settings: Settings,
    *,
    model: CapturedModel | None = None,
    as_torch: bool = False,
) -> Inputs:
    """Captures the model, reads the data and runs the float model on it.

    Args:
        task: What to export.
        runtimes: Formats that will be made.
        settings: How to run.
        model: The captured model, where it is known already.
        as_torch: Every format will start from torch, because techniques change the model.

    Raises:
        EdgekitError: the model or the data is wrong.
    """
    model = model or capture_model(task, settings)
    torch_model: CapturedModel | EdgekitError = model
    if model.kind == "onnx" and (as_torch or any(runtime != "onnx" for runtime in runtimes)):
        try:
            torch_model = capture_model(task, settings, as_torch=True)
        except EdgekitError as error:
            # ONNX itself can still be made; the other formats will say why they cannot.
            torch_model = error
    known_preprocessing(task, model.inputs)  # a wrong table is told before any work
    calibration = prepare_samples(task, model, "calibration", settings)
    evaluation = prepare_samples(task, model, "evaluation", settings)
    reference = reference_outputs(model, evaluation, settings) if evaluation else None
    return Inputs(
        task=task,
        model=model,
        torch_model=torch_model,
        calibration=calibration,
        evaluation=evaluation,
        reference=reference,
    )


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
        rejected: Candidates that the planner turned down, for the report.
        accelerators: Runtime to the device's accelerator for it (see `DeviceProfile.accelerators`).
        done: Told (stage, phrase) when a format has been made.
        predict_changed: Given a candidate and the model that its techniques have made, returns it with that model's
            predictions; for candidates whose predictions are those of the model before.

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
                asked=what_was_asked(inputs, candidate, io, settings),
                accelerator=accelerators.get(candidate.runtime, ""),
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
        environment=describe_environment(versions(REPORTED_PACKAGES)),
        data=describe_data(inputs),
        folder=folder,
        calibration=lint_calibration(inputs, [candidate.recipe for candidate in candidates], settings),
        io=io,
        stages=_stage_tables(inputs, changes, results, settings),
    )


def _stage_tables(
    inputs: Inputs, changes: Changes, results: Sequence[FormatResult], settings: Settings
) -> tuple[StageTable, ...]:
    """Returns the table by stage of each pipeline of techniques that a format was made with."""
    evaluation, task = inputs.evaluation, inputs.task
    yardstick = Yardstick(evaluation=evaluation, reference=inputs.reference, metric=task.metric, base=task.base)
    tables: list[StageTable] = []
    for name, applied in changes.items():
        if isinstance(applied, EdgekitError) or isinstance(inputs.torch_model, EdgekitError):
            continue  # the formats' own errors say so
        of_it = [item for item in results if pipeline_name(item.techniques) == name]
        tables.append(stage_table(name, inputs.torch_model, applied, of_it, yardstick, settings))
    return tuple(tables)


def what_was_asked(inputs: Inputs, candidate: Candidate, io: IoType, settings: Settings) -> Asked:
    """Returns what a candidate's artifact must show; only a recipe that treats layers differently needs a graph."""
    analysis = analyze_model(inputs.model, settings) if candidate.recipe.overrides else None
    return asked_for(candidate.recipe, io=io, techniques=pipeline_name(candidate.techniques), analysis=analysis)


def lint_calibration(inputs: Inputs, recipes: Sequence[Recipe], settings: Settings) -> Mapping[str, object] | None:
    """Returns what the lint says about the calibration data, None where no recipe uses any."""
    if not any(recipe.needs_calibration for recipe in recipes):
        return None
    return calibration_report(
        inputs.model, inputs.calibration, inputs.evaluation, inputs.reference, inputs.task.metric, settings
    )


def describe_data(inputs: Inputs) -> dict[str, object]:
    """Returns hashes and counts of the data and the metric, for the report and the lock."""
    return {
        "metric": inputs.task.metric,
        "calibration": _describe_samples(inputs.calibration),
        "evaluation": _describe_samples(inputs.evaluation),
    }


def _describe_samples(samples: Samples | None) -> dict[str, object] | None:
    return None if samples is None else {"count": samples.count, "items": samples.items, "sha256": samples.sha256}


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


def artifact_metadata(inputs: Inputs, techniques: Sequence[Step] = (), recipe: Recipe | None = None) -> dict[str, str]:
    """Returns what is embedded in every artifact: provenance, labels, preprocessing. No time stamps: bytes repeat."""
    import edgekit

    model = inputs.model
    preprocessing = known_preprocessing(inputs.task, model.inputs)
    calibrated = recipe is not None and recipe.needs_calibration
    labels = model.metadata.get(LABELS_KEY)  # also of a model file that carries its own
    return {
        "edgekit.version": edgekit.__version__,
        "edgekit.source": model.source,
        "edgekit.model": model.name,
        "edgekit.digest": model.digest,
        **({"edgekit.embedded_default": "true"} if model.embedded_default else {}),
        **({"edgekit.techniques": pipeline_name(techniques)} if techniques else {}),
        **({CALIBRATION_KEY: inputs.calibration.sha256} if calibrated and inputs.calibration else {}),
        **({PREPROCESSING_KEY: json.dumps(preprocessing.to_json())} if preprocessing else {}),
        **({LABELS_KEY: labels} if labels else {}),
        **{key: value for key, value in inputs.task.metadata.items() if key != "name"},
    }


def _place(artifact: Artifact, name: str, folder: Path) -> Artifact:
    """Copies an artifact from the cache into the output folder, whole or not at all."""
    target = folder / f"{name}-{artifact.precision}{artifact.path.suffix}"
    try:
        copy_whole(artifact.path, target)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}.") from error
    return replace(artifact, path=target)


def judge_artifact(
    artifact: Artifact,
    inputs: Inputs,
    recipe: Recipe,
    budget: Budget,
    settings: Settings,
    *,
    device: str = "",
    predicted_latency: Prediction | None = None,
    asked: Asked | None = None,
    accelerator: str = "",
) -> tuple[tuple[Check, ...], Mapping[str, object]]:
    """Runs an artifact in its own runtime and judges it.

    Args:
        artifact: The file.
        inputs: The model and its data.
        recipe: Precision of each part.
        budget: Limits.
        settings: How to run.
        device: Name of the profile.
        predicted_latency: What was predicted for that device: judged until the device itself is timed.
        asked: What the artifact was asked to be, None where nobody knows.
        accelerator: Name of the rules about the device's accelerator, "" where it has none for this format.

    Returns:
        The checks, and what was measured on this host beside them (timings, runtime, operators).

    Raises:
        EdgekitError: the artifact cannot be loaded or run at all.
    """
    baseline = _float_baseline(artifact.runtime, inputs, recipe, settings)
    if settings.cancelled.is_set():
        raise KeyboardInterrupt
    pieces: tuple[Piece, ...] = ("memory", "outputs", "latency")
    with tempfile.TemporaryDirectory(prefix="edgekit-outputs-") as folder:
        evidence = collect_evidence(
            artifact,
            folder=Path(folder),
            evaluation=inputs.evaluation,
            reference=inputs.reference,
            baseline=baseline,
            metric=inputs.task.metric,
            metric_base=inputs.task.base,
            pieces=pieces,
            settings=RunSettings(
                timeout_s=settings.timeout_s,
                memory_limit_bytes=settings.memory_limit_bytes,
                threads=settings.threads,
            ),
            progress=settings.stage(artifact.runtime),
        )
        evidence = replace(
            evidence, device=device, predicted_latency=predicted_latency, asked=asked, accelerator=accelerator
        )
        return judge_evidence(evidence, budget), describe_host(evidence)


def judge_evidence(evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
    """Returns the checks of all validators, ours and third parties', in the order of reports."""
    checks = [check for validator in registry.validators() for check in validator.run(evidence, budget)]
    return complete(checks, budget, evidence.artifact.runtime)


def describe_host(evidence: Evidence) -> dict[str, object]:
    """Returns what was measured on this host and is shown, but is no device's figure."""
    timing = host_timing(evidence)
    return {
        "runtime": evidence.runtime,
        "operators": count_by_arithmetic(evidence.operators),
        "accuracy": describe_accuracy(evidence),
        "slices": describe_slices(evidence),
        **(timing.to_json() if timing else {"host": evidence.host, "not_run": evidence.why_missing("latency")}),
    }


def _float_baseline(runtime: str, inputs: Inputs, recipe: Recipe, settings: Settings) -> Path | None:
    """Returns the float artifact of the same runtime, to be timed in turn; None where timings mean nothing.

    A float artifact that cannot be made costs only the ratio, so its failure is not the export's.
    """
    if recipe == _FLOAT or runtime == "coreml":
        return None
    settings.progress(runtime, "converting the float artifact to compare with", None)
    try:
        return convert(inputs.model_for(runtime), runtime, _FLOAT, None, settings).artifact.path
    except EdgekitError as error:
        settings.progress(runtime, f"no float artifact to compare with: {error.message.splitlines()[0]}", None)
        return None


def default_jobs() -> int:
    """Returns how many worker processes run at a time: one a core, four at most, for a converter takes 1 to 3 GB."""
    return min(4, os.cpu_count() or 1)
