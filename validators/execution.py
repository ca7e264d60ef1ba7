"""Runs artifacts and float models in fresh processes and collects the evidence that validators judge.

The work happens in `runners/runner.py`, one process for memory and outputs and one for timings, each with a time
limit and a memory limit. A runtime that crashes or hangs costs the piece of evidence that it was requested, with the
reason.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Final, Literal, TypeVar, final

from edgekit.artifact import Artifact, measure_files, runtime_of
from edgekit.errors import ERRORS_BY_NAME, DataError, MissingDependencyError, ResourceError, WorkerError
from edgekit.formats.table import known_format, session_file
from edgekit.model import ArtifactState, CapturedModel, TensorSpec, boundary_json
from edgekit.samples import Samples
from edgekit.task.image_input import as_pixels, embedded_image_input
from edgekit.task.input_sizes import OpenInput, flags_of
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.base import Evidence
from edgekit.workers.process import OUT_OF_MEMORY, Command, Ended, log_tail, ran_out_of_memory, run_watched
from edgekit.workers.process_environment import process_environment
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.structure import structure
from edgekit.workers.worker import Progress, ProgressReader, silent

T = TypeVar("T")

MeasurementKind = Literal["memory", "outputs", "latency"]
"""What can be measured about an artifact."""

PIECES: Final[tuple[MeasurementKind, ...]] = ("memory", "outputs", "latency")

RUNNER: Final = Path(__file__).resolve().parent / "runners" / "runner.py"
RUNNER_FILES: Final = (RUNNER, RUNNER.with_name("opened_artifact.py"))
"""What is copied to a device, with the session file of the runtime."""
REFERENCE: Final = RUNNER.with_name("reference_session.py")
"""The session of the float model."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How artifacts are run.

    Attributes:
        timeout_s: Wall-clock limit of each process.
        memory_limit_bytes: Limit on the resident set of each process; None for no limit.
        threads: That the runtime may use.
        runs: Timed inferences.
        warmup: Inferences before the timed ones.
        timing_s: Timing stops after this many seconds, but not before 10 runs.
        signature: Which function of the artifact is run where its file has several; "" where it has one.
        runtime_package: Import name of the TFLite interpreter to use; "" for the first that is installed.
        python: Interpreter that has the runtime, where it is not this one (`tflite_runtime` needs NumPy 1).
    """

    timeout_s: float = 1800.0
    memory_limit_bytes: int | None = None
    threads: int = 1
    runs: int = 100
    warmup: int = 10
    timing_s: float = 20.0
    signature: str = ""
    runtime_package: str = ""
    python: Path | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerCall:
    """One runner process: what it must do. Fields as the runner's options; paths are those of where it runs."""

    runtime: str
    artifact: PurePath
    modes: Sequence[MeasurementKind] = ()
    samples: PurePath | None = None
    output: PurePath | None = None
    baseline: PurePath | None = None
    expected: Mapping[str, Any] = field(default_factory=dict[str, Any])
    settings: RunSettings


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerEnd:
    """What a runner process left behind.

    Attributes:
        record: The runner's JSON record, {} where it wrote none.
        failure: Why it did not finish, "" where it did.
        kind: Class name of the error in `edgekit.errors` where the runner said one, else "".
    """

    record: Mapping[str, Any]
    failure: str = ""
    kind: str = ""


RunnerTarget = Callable[[RunnerCall, Progress], RunnerEnd]
"""Runs the runner once, on this machine or on another. Paths of the call are this machine's."""


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
    settings: RunSettings = RunSettings(),
    progress: Progress = silent,
    run: RunnerTarget | None = None,
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

    Raises:
        ArtifactError: the artifact cannot be loaded.
        DataError: the evaluation data does not fit the artifact.
        MissingDependencyError: the runtime is not installed.
    """
    fed = None if evaluation is None else fed_samples(artifact, evaluation, folder / "pixels")
    missing = _not_requested(pieces, evaluation, reference)
    records: list[Mapping[str, Any]] = []
    for modes in (("memory", "outputs"), ("latency",)):
        requested: list[MeasurementKind] = [
            mode for mode in PIECES if mode in modes and mode in pieces and mode not in missing
        ]
        if not requested and (records or "latency" in modes):
            continue
        ran = (run or run_export)(
            RunnerCall(
                runtime=artifact.runtime,
                artifact=artifact.path,
                modes=requested,
                samples=fed.folder if fed else None,
                output=folder / "outputs",
                baseline=baseline,
                expected=_expected(artifact.inputs, artifact.outputs, artifact.states),
                settings=settings,
            ),
            progress,
        )
        _raise_if_unusable(ran)
        missing |= _missing_pieces(ran, requested) | _unread_operators(ran, requested)
        records.append(ran.record)
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
    settings: RunSettings = RunSettings(),
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
    _raise_if_unusable(ran)
    if ran.failure:
        raise ERRORS_BY_NAME.get(ran.kind, WorkerError)(ran.failure)
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
    artifact: Artifact, *, settings: RunSettings = RunSettings(), progress: Progress = silent
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
    settings: RunSettings = RunSettings(),
    progress: Progress = silent,
) -> Samples:
    """Runs the float model in its own framework over `samples` and returns its outputs, written to `folder`.

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
    ran = run_export(run, progress)
    _raise_if_unusable(ran)
    if ran.failure:
        raise ERRORS_BY_NAME.get(ran.kind, WorkerError)(ran.failure)
    return Samples.open(folder)


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
    return as_pixels(samples, image, layout or "NHWC", folder)


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


def run_export(run: RunnerCall, progress: Progress) -> RunnerEnd:
    """Runs the runner once. Reaching a limit and crashing are results here: the caller knows what they cost."""
    with temporary_folder("run") as folder:
        command = Command(
            title=f"run of {run.artifact.name}",
            arguments=_arguments(run, folder),
            log=folder / "log.txt",
            timeout_s=run.settings.timeout_s,
            memory_limit_bytes=run.settings.memory_limit_bytes,
            environment={**process_environment(folder, run.settings.threads), **_environment(run)},
        )
        failure, kind = "", ""
        try:
            ended = run_watched(command, ProgressReader(folder / "progress.json", progress))
        except ResourceError as error:
            failure, kind = error.message, "ResourceError"
        else:
            failure, kind = _describe_end(ended, command, run)
        record = json.loads((folder / "record.json").read_text()) if (folder / "record.json").exists() else {}
    if record.get("error"):
        failure, kind = record["error"]["message"], record["error"]["kind"]
    return RunnerEnd(record=record, failure=failure, kind=kind)


def _describe_end(ended: Ended, command: Command, run: RunnerCall) -> tuple[str, str]:
    """Returns why a runner did not finish, and the class name of the error that this is; "" twice where it did."""
    if not ended.returncode:
        return "", ""
    if ran_out_of_memory(ended, command.log):
        return f"The {command.title} {ended.how}. {OUT_OF_MEMORY}", "ResourceError"
    # A float model runs in its framework, which nobody blames a file for.
    if ended.crashed and run.runtime != "reference":
        advice = "The file is probably damaged, or not made for this runtime: make it again."
        crashed = f"{run.artifact.name} makes its runtime crash: the {command.title} {ended.how}. {advice}"
        return f"{crashed}\n{log_tail(command.log)}", "ArtifactError"
    return f"The {command.title} {ended.how}.\n{log_tail(command.log)}", ""


def _arguments(run: RunnerCall, folder: Path) -> list[str]:
    expected = ["--expected", str(folder / "expected.json")] if run.expected else []
    if run.expected:
        (folder / "expected.json").write_text(json.dumps(run.expected))
    progress = ["--progress", str(folder / "progress.json"), f"--parent={os.getpid()}"]
    return [
        str(run.settings.python or sys.executable),
        str(RUNNER),
        *runner_options(run, folder / "record.json", _session(run.runtime)),
        *progress,
        *expected,
    ]


def _session(runtime: str) -> Path:
    """Returns the session file that runs a format, or the float model itself."""
    return REFERENCE if runtime == "reference" else session_file(runtime)


def runner_options(run: RunnerCall, record: PurePath, session: PurePath) -> list[str]:
    """Returns the runner's options for `run`, which writes its record to `record` with the session file `session`."""
    settings = run.settings
    arguments = {
        "--runtime": run.runtime,
        "--session": session,
        "--artifact": run.artifact,
        "--modes": ",".join(run.modes),
        "--record": record,
        "--threads": settings.threads,
        "--runs": settings.runs,
        "--warmup": settings.warmup,
        "--max-seconds": settings.timing_s,
        "--runtime-package": settings.runtime_package,
        "--samples": run.samples,
        "--output": run.output,
        "--signature": settings.signature or None,
        "--baseline": run.baseline if "latency" in run.modes else None,
    }
    given = [f"{key}={value}" for key, value in arguments.items() if value is not None]
    # Operators are read once, and not where the artifact is timed: reading them runs it again.
    operators = ["--operators"] if {"memory", "outputs"} & set(run.modes) else []
    return [*given, *operators]


def _environment(run: RunnerCall) -> dict[str, str]:
    environment = {"OMP_NUM_THREADS": str(run.settings.threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if imported := _session_imports(run.runtime):
        # A script's own folder is first on its path, not where these packages lie.
        roots = [_root_of(name) for name in imported]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (*roots, os.environ.get("PYTHONPATH", ""))))
    return environment


def _session_imports(runtime: str) -> tuple[str, ...]:
    """Returns the packages that a session imports beside NumPy and its runtime."""
    if runtime == "reference":
        return ("edgekit",)  # its check of a program's file
    made = known_format(runtime)
    return made.runtime.session_imports if made is not None else ()


def _root_of(package: str) -> str:
    """Returns the folder that a package lies in."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return str(Path(places[0]).resolve().parent) if places else ""


def _expected(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], states: Sequence[ArtifactState] = ()
) -> dict[str, Any]:
    return boundary_json(inputs, outputs, states) if inputs or outputs else {}


def check_sizes(artifact: Artifact) -> None:
    """Checks that inputs of made-up values can be made: that an artifact leaves no size but the batch free.

    Raises:
        DataError: it does, and nothing gives them.
    """
    from edgekit.validators.runners.opened_artifact import shape_text  # with NumPy

    for spec in artifact.data_inputs:
        # As the runner: a free first axis is the batch, but not where it is the only one.
        shape = [1 if size == -1 and not axis and len(spec.shape) > 1 else size for axis, size in enumerate(spec.shape)]
        if -1 in shape:
            raise DataError(
                f'{artifact.path.name} leaves sizes of its input "{spec.name}" free: {shape_text(shape)}. Give data of '
                f"the sizes that the app will use. Or name them: "
                f"{flags_of([OpenInput.from_spec(one) for one in artifact.data_inputs])}"
            )


def _raise_if_unusable(ran: RunnerEnd) -> None:
    """Raises where nothing can be measured because of what the user gave or of what this machine lacks."""
    loaded = "inputs" in ran.record
    if ran.kind == "OpenSizesError":
        described = [
            OpenInput.from_spec(structure(data, TensorSpec, "runner's record")) for data in ran.record["inputs"]
        ]
        raise DataError(f"{ran.failure} Or name them: {flags_of(described)}")
    if ran.kind == "DataError":
        raise DataError(ran.failure)
    if ran.kind == "MissingDependencyError":
        raise MissingDependencyError(ran.failure)
    if ran.kind in ERRORS_BY_NAME and ran.kind != "ResourceError" and not loaded:
        raise ERRORS_BY_NAME[ran.kind](ran.failure)


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
