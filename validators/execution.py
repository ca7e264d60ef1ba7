"""Runs artifacts and float models in fresh processes and collects the evidence that validators judge.

The work happens in `runners/runner.py`, one process for memory and outputs and one for timings, each with a time
limit and a memory limit. A runtime that crashes or hangs costs the piece of evidence that it was requested, with the
reason.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from edgekit.artifact import Artifact, measure_files, runtime_of
from edgekit.errors import ERRORS_BY_NAME, ArtifactError, DataError, MissingDependencyError, ResourceError, WorkerError
from edgekit.formats.table import all_formats
from edgekit.model import ArtifactState, CapturedModel, TensorSpec, boundary_json
from edgekit.samples import Samples
from edgekit.task.image_input import embedded_image_input
from edgekit.task.input_sizes import OpenInput, flags_of
from edgekit.task.sample_feed import as_fed
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence
from edgekit.validators.runner_process import (
    DEFAULT_RUN,
    PIECES,
    MeasurementKind,
    RunnerCall,
    RunnerEnd,
    RunnerTarget,
    RunSettings,
    run_export,
)
from edgekit.validators.streamed_run import StreamedRun, processes_for
from edgekit.workers.cache import Cache, content_key, versions
from edgekit.workers.code_digest import code_digest
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.request_key import content_digest
from edgekit.workers.structure import structure
from edgekit.workers.worker import Progress, silent

T = TypeVar("T")

_RUNNER_CODE: Final = ("edgekit.validators.runner_process", "edgekit.validators.runners")
"""The runner is started by its path, so imports do not lead to it."""


def collect_evidence(
    artifact: Artifact,
    *,
    folder: Path,
    evaluation: Samples | None = None,
    reference: Samples | None = None,
    baseline: Path | None = None,
    metric: str = "agreement",
    metric_base: Path = Path(),
    pieces: Sequence[MeasurementKind] = PIECES,
    settings: RunSettings = DEFAULT_RUN,
    progress: Progress = silent,
    run: RunnerTarget | None = None,
    cache: Cache | None = None,
) -> Evidence:
    """Runs `artifact` and returns what was measured. What could not be measured is in `Evidence.missing`.

    Args:
        artifact: The file; its inputs and outputs, where known, give the float model's order and the scales. Where they
            are not known, the evidence's artifact has them as the runtime tells them.
        folder: Where the artifact's outputs are written, as a sample folder `outputs`.
        evaluation: Inputs, and targets where the metric needs them.
        reference: The float model's outputs on `evaluation`, from `run_reference`.
        baseline: The float artifact of the same runtime, timed in turn with this one.
        metric: The task's metric.
        metric_base: Folder that a relative `file.py:function` starts from.
        pieces: What to measure. Timings are only worth something while nothing else runs: ask for them separately.
        settings: Limits, threads and counts.
        progress: Callback that gets what is going on.
        run: Runs the runner somewhere else; None for a fresh process on this machine.
        cache: Keeps outputs on parts of a large set, so that a run that was killed goes on; None keeps nothing.

    Raises:
        ArtifactError: the artifact cannot be loaded.
        DataError: the evaluation data does not fit the artifact.
        MissingDependencyError: the runtime is not installed.
    """
    fed = None if evaluation is None else fed_samples(artifact, evaluation, folder / "pixels")
    missing = _not_requested(pieces, evaluation, reference)
    records: list[Mapping[str, Any]] = []
    call = RunnerCall(
        runtime=artifact.runtime,
        artifact=artifact.path,
        samples=fed.kept.folder if fed else None,
        output=folder / "outputs",
        baseline=baseline,
        expected=_expected(artifact.inputs, artifact.outputs, artifact.states),
        settings=settings,
    )
    in_parts = fed is not None and fed.part_rows > 0
    for modes in (("memory",) if in_parts else ("memory", "outputs"), ("latency",)):
        requested: list[MeasurementKind] = [
            mode for mode in PIECES if mode in modes and mode in pieces and mode not in missing
        ]
        if not requested and (records or "latency" in modes):
            continue
        ran = (run or run_export)(replace(call, modes=requested), progress)
        _raise_if_unusable(ran)
        missing |= _missing_pieces(ran, requested) | _unread_operators(ran, requested)
        records.append(ran.record)
    if fed is not None and fed.part_rows and "outputs" not in missing:
        try:
            records.append({"rows": run_in_parts(call, fed, cache, progress).count})
        except (ArtifactError, ResourceError, WorkerError) as error:
            missing["outputs"] = error.message
    return _evidence(
        Evidence(
            artifact=artifact,
            metric=metric,
            metric_base=metric_base,
            evaluation=evaluation,
            reference=reference,
            threads=settings.threads,
            missing=missing,
        ),
        records,
        folder / "outputs",
    )


def describe_artifact(
    path: Path,
    *,
    precision: str = "unknown",
    settings: RunSettings = DEFAULT_RUN,
    progress: Progress = silent,
) -> Artifact:
    """Returns the facts of an artifact that may have been made elsewhere; loads it in its runtime.

    Raises:
        ArtifactError: no such file, not an artifact, or one that its runtime does not load.
        MissingDependencyError: the runtime is not installed.
        WorkerError: the runtime crashed.
        ResourceError: a limit was reached.
    """
    runtime = runtime_of(path)
    ran = run_export(RunnerCall(runtime=runtime, artifact=path, settings=settings), progress)
    _raise_if_failed(ran)
    size_bytes, download_bytes, sha256 = measure_files(path)
    artifact = Artifact(
        path=path,
        runtime=runtime,
        precision=precision,
        size_bytes=size_bytes,
        download_bytes=download_bytes,
        sha256=sha256,
    )
    return _described(artifact, ran.record)


def describe_operators(
    artifact: Artifact, *, settings: RunSettings = DEFAULT_RUN, progress: Progress = silent
) -> tuple[ArtifactOperator, ...]:
    """Returns what an artifact computes with, from one inference on made-up inputs; nothing where that is not known.

    Why it cannot is said where the artifact is run on the user's data.
    """
    call = RunnerCall(runtime=artifact.runtime, artifact=artifact.path, modes=("memory",), settings=settings)
    found: list[dict[str, Any]] = run_export(call, progress).record.get("operators") or []
    return _values(found, ArtifactOperator)


def run_reference(
    model: CapturedModel,
    samples: Samples,
    folder: Path,
    *,
    settings: RunSettings = DEFAULT_RUN,
    progress: Progress = silent,
    cache: Cache | None = None,
) -> Samples:
    """Runs the float model in its own framework over `samples` and returns its outputs, written to `folder`.

    `cache` keeps outputs on parts of a large set, so that a run that was killed goes on; None keeps nothing.

    Raises:
        ArtifactError: the captured file cannot be loaded, or the model fails when it runs.
        DataError: the samples do not fit the model.
        MissingDependencyError: the framework is not installed.
        ResourceError: a limit was reached.
        WorkerError: the framework crashed.
    """
    run = RunnerCall(
        runtime="reference",
        artifact=model.open_path,
        modes=("outputs",),
        samples=samples.folder,
        output=folder,
        expected=_expected(model.inputs, model.outputs, model.artifact_states()),
        settings=settings,
    )
    if samples.part_rows:
        return run_in_parts(run, samples, cache, progress)
    _raise_if_failed(run_export(run, progress))
    return Samples.open(folder)


def run_in_parts(call: RunnerCall, samples: Samples, cache: Cache | None, progress: Progress) -> Samples:
    """Runs a model on a set whose rows are read anew and returns its outputs, written where the call wants them.

    Args:
        call: The run.
        samples: The set.
        cache: Keeps the outputs of finished parts; None keeps nothing.
        progress: Callback that gets what is going on.

    Raises:
        EdgekitError: as `run_reference`.
    """

    def run_parts(feed: Path, parts: tuple[int, ...], kept: Path, tell: Progress, cancelled: threading.Event) -> None:
        part = replace(call, modes=("outputs",), samples=feed, parts=parts, output=kept)
        _raise_if_failed(run_export(part, tell, cancelled))

    output, settings = Path(call.output or ""), call.settings
    with temporary_folder("parts") as folder:
        kept = folder / "parts" if cache is None else cache.journal("parts", parts_key(call, samples))
        return StreamedRun(
            samples=samples,
            title=Path(call.artifact).name,
            kept=kept,
            processes=processes_for(Path(call.artifact), settings.threads),
            timeout_s=settings.timeout_s,
            memory_limit_bytes=settings.memory_limit_bytes,
        ).run(run_parts, output, progress)


def parts_key(call: RunnerCall, samples: Samples) -> str:
    """Returns the key of outputs on parts: the model, its data and how it is run."""
    return content_key({
        "artifact": content_digest(Path(call.artifact)),
        "runtime": call.runtime,
        "samples": samples.key_facts(),
        "part_rows": samples.part_rows,
        "expected": dict(call.expected),
        "threads": call.settings.threads,
        "package": call.settings.runtime_package,
        "signature": call.settings.signature,
        "code": code_digest(*_RUNNER_CODE),
        "tools": versions(tuple(sorted({name for one in all_formats() for name in one.records}))),
    })  # fmt: skip


def fed_samples(artifact: Artifact, samples: Samples, folder: Path) -> Samples:
    """Returns rows of the float model as the artifact takes them: the pixels of pictures where its input is one.

    Args:
        artifact: What takes them.
        samples: Rows; those that are pixels already stay what they are.
        folder: Where pixels are written.

    Raises:
        DataError: the rows were not made of pixels.
    """
    image = embedded_image_input(artifact.metadata)
    if image is None:
        return samples
    # A file that nobody has loaded yet tells no layout: then it is that of all formats but one.
    layout = next((spec.layout for spec in artifact.inputs if image.is_pixels(spec)), None)
    return as_fed(samples, image, layout or "NHWC", folder)


def _not_requested(
    pieces: Sequence[MeasurementKind], evaluation: Samples | None, reference: Samples | None
) -> dict[str, str]:
    """Returns the pieces that are missing before anything has run."""
    missing: dict[str, str] = {piece: "It was not requested." for piece in PIECES if piece not in pieces}
    if evaluation is None:
        missing["outputs"] = "There is no evaluation data. Give [data] evaluation in edgekit.toml."
    if reference is None:
        missing["reference"] = (
            "There is no float model to compare with. Give the model that the artifact was made from, with --model."
        )
    return missing


def _expected(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], states: Sequence[ArtifactState] = ()
) -> dict[str, Any]:
    return boundary_json(inputs, outputs, states) if inputs or outputs else {}


def check_sizes(artifact: Artifact) -> None:
    """Checks that inputs of made-up values can be made: that an artifact leaves no size but the batch free.

    Raises:
        DataError: it does, and nothing gives them.
    """
    from edgekit.validators.runners.opened_artifact import made_up_shape, open_sizes_text  # with NumPy

    for spec in artifact.data_inputs:
        if -1 in (shape := made_up_shape(spec.shape)):
            raise _open_sizes_error(open_sizes_text(artifact.path, spec.name, shape), artifact.data_inputs)


def _open_sizes_error(said: str, inputs: Sequence[TensorSpec]) -> DataError:
    return DataError(f"{said} Or name them: {flags_of([OpenInput.from_spec(spec) for spec in inputs])}")


def _raise_if_unusable(ran: RunnerEnd) -> None:
    """Raises where nothing can be measured because of what the user gave or of what this machine lacks."""
    loaded = "inputs" in ran.record
    if ran.kind == "OpenSizesError":
        described = [structure(data, TensorSpec, "runner's record") for data in ran.record["inputs"]]
        raise _open_sizes_error(ran.failure, described)
    if ran.kind == "DataError":
        raise DataError(ran.failure)
    if ran.kind == "MissingDependencyError":
        raise MissingDependencyError(ran.failure)
    if ran.kind in ERRORS_BY_NAME and ran.kind != "ResourceError" and not loaded:
        raise ERRORS_BY_NAME[ran.kind](ran.failure)


def _raise_if_failed(ran: RunnerEnd) -> None:
    """Raises where a run did not do what it was to do."""
    _raise_if_unusable(ran)
    if ran.failure:
        raise ERRORS_BY_NAME.get(ran.kind, WorkerError)(ran.failure)


def _missing_pieces(ran: RunnerEnd, requested: Sequence[MeasurementKind]) -> dict[str, str]:
    """Returns the pieces of `requested` that a run did not bring, each with the reason."""
    failed = {mode: ran.failure for mode in requested if ran.failure and not _has(ran.record, mode)}
    return {**ran.record.get("missing", {}), **failed}


def _unread_operators(ran: RunnerEnd, requested: Sequence[MeasurementKind]) -> dict[str, str]:
    """Returns why a run that was to tell what the artifact computes with did not, {} where it did or was not asked."""
    if ran.record.get("operators") or not {"memory", "outputs"} & set(requested):
        return {}
    return {"operators": ran.failure or "The runtime does not report what it runs."}


def _has(record: Mapping[str, Any], mode: str) -> bool:
    return {"memory": "memory", "outputs": "rows", "latency": "latency"}[mode] in record


def _values(items: Sequence[Mapping[str, Any]], kind: type[T]) -> tuple[T, ...]:
    """Returns what a runner has described; it is a script that imports nothing of edgekit."""
    return tuple(structure(item, kind, "runner's record") for item in items)


def _described(artifact: Artifact, record: Mapping[str, Any]) -> Artifact:
    """Returns the artifact with what the runtime tells about its inputs and outputs, where nobody knew before."""
    if "inputs" not in record:
        return artifact
    return replace(
        artifact,
        inputs=artifact.inputs or _values(record["inputs"], TensorSpec),
        outputs=artifact.outputs or _values(record["outputs"], TensorSpec),
        metadata=artifact.metadata or record["metadata"],
        signature=record["signature"],
        signatures=tuple(record["signatures"]),
        states=artifact.states or _values(record["states"], ArtifactState),
    )


def _evidence(start: Evidence, records: Sequence[Mapping[str, Any]], outputs: Path) -> Evidence:
    """Returns `start` with what the runners' records hold; `outputs` is the sample folder that a runner wrote."""
    evidence = start
    for record in records:
        if "runtime" in record:
            runtime = f"{record['runtime']['name']} {record['runtime']['version']}".strip()
            if settings := record["runtime"].get("settings"):
                runtime = f"{runtime} ({settings})"
            evidence = replace(evidence, host=record["host"], runtime=runtime)
        evidence = replace(evidence, artifact=_described(evidence.artifact, record))
        if "load_ms" in record and evidence.load_ms is None:
            evidence = replace(evidence, load_ms=record["load_ms"])
        if "inputs" in record:
            boundary = ((item["name"], item["dtype"]) for item in (*record["inputs"], *record["outputs"]))
            evidence = replace(evidence, boundary=tuple(boundary), embedded=record["metadata"])
        if record.get("operators"):
            evidence = replace(evidence, operators=_values(record["operators"], ArtifactOperator))
        if _has(record, "memory"):
            memory = record["memory"]
            evidence = replace(
                evidence, peak_memory_bytes=memory["peak_bytes"], empty_memory_bytes=memory["empty_bytes"]
            )
        if _has(record, "outputs"):
            evidence = replace(evidence, outputs=Samples.open(outputs))
        if _has(record, "latency"):
            times = record["latency"]
            evidence = replace(
                evidence,
                latencies_ms=tuple(times["artifact_ms"]),
                float_latencies_ms=tuple(times["baseline_ms"]),
            )
    return evidence
