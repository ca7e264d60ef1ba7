"""One run of the runner: a fresh process on this machine, what it is told and how it ended."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final, Literal, final

from edgekit.errors import ResourceError
from edgekit.formats.table import known_format, session_file
from edgekit.workers.process import OUT_OF_MEMORY, Command, Ended, log_tail, ran_out_of_memory, run_watched
from edgekit.workers.process_environment import process_environment
from edgekit.workers.process_folder import temporary_folder
from edgekit.workers.worker import Progress, ProgressReader

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


DEFAULT_RUN: Final = RunSettings()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerCall:
    """One runner process: what it must do. Fields as the runner's options; paths are those of where it runs.

    With `parts`, `samples` is the folder that these parts of a large set come into.
    """

    runtime: str
    artifact: PurePath
    modes: Sequence[MeasurementKind] = ()
    samples: PurePath | None = None
    parts: Sequence[int] = ()
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


def run_export(run: RunnerCall, progress: Progress, cancelled: threading.Event | None = None) -> RunnerEnd:
    """Runs the runner once. Reaching a limit and crashing are results here: the caller knows what they cost.

    Args:
        run: What it must do.
        progress: Callback that gets what it is doing.
        cancelled: Once set, the runner is ended and KeyboardInterrupt raised.
    """
    with temporary_folder("run") as folder:
        command = Command(
            title=f"run of {run.artifact.name}",
            arguments=_arguments(run, folder),
            log=folder / "log.txt",
            timeout_s=run.settings.timeout_s * max(1, len(run.parts)),
            memory_limit_bytes=run.settings.memory_limit_bytes,
            environment={**process_environment(folder, run.settings.threads), **_environment(run)},
        )
        failure, kind = "", ""
        read_progress = ProgressReader(folder / "progress.json", progress)

        def poll() -> None:
            if cancelled is not None and cancelled.is_set():
                raise KeyboardInterrupt
            read_progress()

        try:
            ended = run_watched(command, poll)
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
        "--parts": ",".join(map(str, run.parts)) or None,
        "--output": run.output,
        "--signature": settings.signature or None,
        "--baseline": run.baseline if "latency" in run.modes else None,
    }
    given = [f"{key}={value}" for key, value in arguments.items() if value is not None]
    # Operators are read once, and not where the artifact is timed: reading them runs it again.
    operators = ["--operators"] if {"memory", "outputs"} & set(run.modes) and not run.parts else []
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
