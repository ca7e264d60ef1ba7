"""Runs a function in a fresh process with a time limit and a memory limit.

A converter or a runtime can crash, hang, leak, print to stdout, or need packages that clash with another's. None of
that may reach the parent: it gets a JSON record, a captured log, or one clear error with the log's tail.

The job is a function of a module that takes a request and a `Progress`, and returns a result: frozen dataclasses, which
travel as JSON (see `structure`) through files in a private folder. Its stdout and stderr go to a log file.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, final, get_type_hints

from edgekit.errors import ERRORS_BY_NAME, EdgekitError, InternalError, MachineError, ResourceError, WorkerError
from edgekit.workers.atomic_files import write_text
from edgekit.workers.cpu_limit import limit_in, reached_limit
from edgekit.workers.fault_file import keep_traceback
from edgekit.workers.process import (
    OUT_OF_MEMORY,
    Command,
    Ended,
    lacked_memory,
    log_tail,
    ran_out_of_memory,
    run_watched,
)
from edgekit.workers.process_environment import process_environment, python_command
from edgekit.workers.process_folder import remove_process_folders, temporary_folder
from edgekit.workers.request_key import request_key
from edgekit.workers.structure import structure, unstructure

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

Progress = Callable[[str, float | None], None]
"""Called with what a job is doing: a short phrase, and the share done from 0 to 1 where it is known."""


def silent(phrase: str, share: float | None = None) -> None:
    """A `Progress` that tells nobody."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[RequestT, ResultT]):
    """Work that a worker process does.

    Attributes:
        work: Takes a request and a `Progress`, and returns a result. A function of a module: a fresh process finds it
            by its name.
        tools: Distributions whose versions the result depends on.
    """

    work: Callable[[RequestT, Progress], ResultT]
    tools: tuple[str, ...] = ()

    @property
    def entry(self) -> str:
        """`module:function`."""
        return f"{self.work.__module__}:{self.work.__qualname__}"

    def key(self, request: RequestT, tools: tuple[str, ...] = ()) -> str:
        """Returns the key under which the result of a request is cached.

        Args:
            request: All that the result depends on.
            tools: Further distributions whose versions it depends on.
        """
        return request_key(request, code=(self.work.__module__,), tools=(*self.tools, *tools))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How a job is run.

    Attributes:
        title: For messages: `conversion to tflite`.
        threads: That it computes with. A fixed number, because sums in another order give other bytes.
        timeout_s: Wall-clock limit.
        memory_limit_bytes: Limit on the resident set of the process and its children; None for no limit.
        environment: Variables added to the worker's environment.
        log: Where its stdout and stderr go; None for a file that vanishes.
        forks: The process is a fork of this one, which has the frameworks loaded and has run no user code: as fresh as
            one that is started, and there in milliseconds. For a worker process of one thread that asks for it.
    """

    title: str
    threads: int = 1
    timeout_s: float = 1800.0
    memory_limit_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    log: Path | None = None
    forks: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(Generic[ResultT]):
    """What a worker process left behind.

    Attributes:
        value: What the job's function returned.
        wall_s: Seconds from start to end, process start included.
        cpu_s: CPU seconds of the process and its children.
        peak_memory_bytes: Largest resident set seen by the kernel.
    """

    value: ResultT
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


def types_of(work: Callable[..., Any]) -> tuple[type, type]:
    """Returns the types of a job's request and of its result, as the function's hints name them."""
    request, *_, result = get_type_hints(work).values()
    return request, result


def run_job(
    job: Job[RequestT, ResultT],
    request: RequestT,
    options: JobOptions,
    progress: Progress = silent,
    cancelled: threading.Event | None = None,
) -> JobResult[ResultT]:
    """Runs `job` in a fresh process and returns what it returned.

    Args:
        job: What to do.
        request: What to do it with.
        options: How to run it.
        progress: Callback that gets what the job is doing.
        cancelled: Once set, the process is ended and KeyboardInterrupt raised: how Ctrl-C reaches jobs on threads.

    Raises:
        MachineError: this system runs none of the frameworks.
        EdgekitError: the one that the job raised, with its message.
        ResourceError: the time or the memory limit was reached, or the machine ran out of memory.
        WorkerError: the process died; the message holds the log's tail.
        InternalError: the job raised anything else; the message names the file with its log and traceback.
        KeyboardInterrupt: passed on after the process was ended.
    """
    _check_system()
    with temporary_folder("job") as folder:
        (folder / "job.json").write_text(
            json.dumps({"entry": job.entry, "request": unstructure(request), "parent": os.getpid()})
        )
        log = options.log or folder / "log.txt"
        environment = {**process_environment(folder, options.threads), **options.environment}
        command = Command(
            title=options.title,
            arguments=python_command(str(folder)),
            log=log,
            timeout_s=options.timeout_s,
            memory_limit_bytes=options.memory_limit_bytes,
            environment=environment,
            fork=partial(_become_worker, folder, environment) if options.forks else None,
        )
        read_progress = ProgressReader(folder / "progress.json", progress)

        def poll() -> None:
            if cancelled is not None and cancelled.is_set():
                raise KeyboardInterrupt
            read_progress()

        ended = run_watched(command, poll)
        data = _read_result(options.title, folder, log, ended)
    value: ResultT = structure(data, types_of(job.work)[1], f"result of the {options.title}")
    return JobResult(value=value, wall_s=ended.wall_s, cpu_s=ended.cpu_s, peak_memory_bytes=ended.peak_memory_bytes)


def _check_system() -> None:
    """Refuses Windows: the converters of LiteRT and ExecuTorch have no builds for it.

    Raises:
        MachineError: always on Windows.
    """
    if sys.platform == "win32":
        raise MachineError(
            "edgekit does not run models on Windows: LiteRT's and ExecuTorch's converters have no builds for it. "
            "Use Linux, or WSL 2 on this machine."
        )


@final
class ProgressReader:
    """Passes on what a job writes into its progress file, whenever that has changed. Call it now and then."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._reported = ""

    def __call__(self) -> None:
        """Looks at the file once."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return
        if text != self._reported:
            self._reported = text
            data = json.loads(text)
            self._progress(data["phrase"], data["share"])


def _read_result(title: str, folder: Path, log: Path, ended: Ended) -> Any:
    path = folder / "result.json"
    result = reached_limit(folder, ended.returncode)
    if result is None and not path.exists():
        if ran_out_of_memory(ended, log):
            raise ResourceError(f"The {title} {ended.how}. {OUT_OF_MEMORY}")
        raise WorkerError(f"The {title} {ended.how} and left no result.\n{log_tail(log)}")
    result = result or json.loads(path.read_text())
    if "value" in result:
        return result["value"]
    error = ERRORS_BY_NAME.get(result["error"])
    if error is not None:
        raise error(result["message"])
    text = log.read_text(errors="replace") if log.exists() else ""
    raise InternalError(
        f"The {title} failed with {result['error']}: {result['message']}\n"
        f"This is a fault of edgekit or of a framework that it uses: {keep_traceback(text)}."
    )


@final
class _FileProgress:
    """The worker's end of `Progress`: writes the latest phrase where the parent looks."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "progress.json"

    def __call__(self, phrase: str, share: float | None = None) -> None:
        write_text(self._path, json.dumps({"phrase": phrase, "share": share}))


def _end_with_parent(parent: int) -> None:
    """Ends this process and what it has started once its parent is gone: a parent that was killed could not do it.

    Args:
        parent: The parent's process id, as itself wrote it down: it may be gone already.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        if os.getpgrp() == os.getpid():  # the group that `run_watched` gave it
            os.killpg(0, signal.SIGKILL)
        os._exit(MachineError.exit_code)

    threading.Thread(target=watch, daemon=True).start()


def _run_work(entry: str, data: Any, progress: Progress) -> Any:
    """Returns the JSON form of what a job's function makes of its request.

    Raises:
        TypeError: the function returned something else than it declares.
    """
    module, _, name = entry.partition(":")
    work = getattr(importlib.import_module(module), name)
    # From here on come user code and what frameworks generate: its bytecode would be left behind beside the user's
    # files and in the folder for temporary ones, and hide an edit within the same second.
    sys.dont_write_bytecode = True
    request_type, result_type = types_of(work)
    request: Any = structure(data, request_type, f"request of {entry}")
    value: Any = work(request, progress)
    if not isinstance(value, result_type):
        raise TypeError(f"{name} returned a {type(value).__name__}; expected a {result_type.__name__}")
    return unstructure(value)


def main(folder: Path) -> int:
    """Runs the job that lies in `folder`: the worker process's side. Returns its exit code."""
    job = json.loads((folder / "job.json").read_text())
    _end_with_parent(job["parent"])
    limit_in(folder)
    try:
        result: dict[str, Any] = {"value": _run_work(job["entry"], job["request"], _FileProgress(folder))}
    except EdgekitError as error:
        # A third party's own subclass is reported as the nearest class that the parent knows.
        name = next((c.__name__ for c in type(error).__mro__ if c.__name__ in ERRORS_BY_NAME), "EdgekitError")
        result = {"error": name, "message": error.message}
        if lacked_memory(error):
            result = {"error": "ResourceError", "message": f"{error.message}\n{OUT_OF_MEMORY}"}
    except Exception as error:
        traceback.print_exc()
        result = {"error": type(error).__name__, "message": str(error)}
        if lacked_memory(error):
            result = {"error": "ResourceError", "message": OUT_OF_MEMORY}
    write_text(folder / "result.json", json.dumps(result))
    return 0 if "value" in result else MachineError.exit_code


def start() -> None:
    """Runs the job in the folder that the command line names, and ends the process."""
    _run_and_end(Path(sys.argv[1]))


def _become_worker(folder: Path, environment: Mapping[str, str], log: int) -> NoReturn:
    """Does in a process that was just forked what a fresh one does: its streams, files and variables are its own."""
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, given in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, given)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdout, sys.stderr = (os.fdopen(number, "w", errors="replace", closefd=False) for number in (1, 2))
        os.environ.update(environment)
        tempfile.tempdir = None
        sys.argv = ["-c", str(folder)]
        faulthandler.disable()  # a fresh interpreter has none: what the runtime says itself stands in the log
        _draw_anew()
        _run_and_end(folder)
    except BaseException:
        traceback.print_exc()  # into the log: nothing of this process may go on as its parent
    finally:
        os._exit(MachineError.exit_code)


def _draw_anew() -> None:
    """Gives a fork random numbers of its own: two data sets that nobody seeds would be the same. `random` does so."""
    for module in ("torch", "numpy.random"):
        if module in sys.modules:
            sys.modules[module].seed()


def _run_and_end(folder: Path) -> NoReturn:
    code = main(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    remove_process_folders()
    # Frameworks' destructors crash or hang at interpreter exit now and then; the result is already on disk.
    os._exit(code)
