"""Runs a command of edgekit, or one of its readers, in a forked child with limits on time and memory.

The parent has imported what the child needs. The child's worker processes are forks as well: what costs seconds with a
fresh interpreter costs milliseconds, and a native runtime that dies still dies alone. What the child says, how it ends
and what it leaves behind is what a person would see.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from edgekit.cli import app
from edgekit.errors import ResourceError
from edgekit.terminal.streams import say
from edgekit.validators import runner_process
from edgekit.workers import worker
from edgekit.workers.process import Command, Ended
from edgekit.workers.process_folder import remove_process_folders

CPU_SECONDS = 30
"""For each process: no file of some kilobytes takes that long, however busy the machine is."""

WALL_SECONDS = 240
MORE_MEMORY_BYTES = 3 << 30
"""Above what the parent holds."""

Read = Callable[[Path], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended.

    Attributes:
        code: Exit code; negative where a signal ended it.
        said: What it wrote to the standard streams.
        left: Files that it left in its folder, its temporary folder and the cache's folder of running processes.
        limit: Which limit it reached, "" for none.
    """

    code: int
    said: str
    left: tuple[str, ...]
    limit: str = ""


def run_forked(act: Callable[[], int], place: Path, *, may_write: Iterable[str] = ()) -> Ran:
    """Runs `act`, which returns an exit code, in a child whose current folder is `place/work`.

    Args:
        act: What to do.
        place: Folder of this run; holds `work`.
        may_write: Names in `work` that the run may make or change.
    """
    for name in ("tmp", "cache"):
        (place / name).mkdir(exist_ok=True)
    before = listing(place / "work")
    pid = os.fork()
    if not pid:
        _child(act, place)
    code, limit = _wait(pid)
    said = (place / "said.txt").read_text(errors="replace")
    allowed = set(may_write)
    left = [name for name in listing(place / "work") - before if name.partition("/")[0] not in allowed]
    left += [f"tmp/{name}" for name in listing(place / "tmp")]
    left += [f"cache/{name}" for name in listing(place / "cache") if ".running/" in name or "/.partial" in name]
    return Ran(code=code, said=said, left=tuple(sorted(left)), limit=limit)


def listing(folder: Path) -> set[str]:
    """Returns the names of all files and folders below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def command(*arguments: str) -> Callable[[], int]:
    """Returns what runs `edgekit ARGUMENTS`."""
    return lambda: app.main(list(arguments))


def reading(read: Read) -> Callable[[], int]:
    """Returns what runs a reader in the current folder and ends as a command does: the same messages and exit codes."""

    def act() -> int:
        try:
            read(Path())
        except Exception as problem:  # the command line catches all, and says whose fault it is
            error = app._as_error(problem)
            say(f"edgekit: {error.message}")
            return error.exit_code
        return 0

    return act


def enter(place: Path) -> None:
    """Makes a child that was just forked a command of its own: group, streams, folders, what it does at its end."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's `&` has it ignored, and children take that over
    with (place / "said.txt").open("wb") as said, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.stdout, sys.stderr = _streams()
    os.chdir(place / "work")
    os.environ |= {
        "TMPDIR": str(place / "tmp"),
        "EDGEKIT_CACHE_DIR": str(place / "cache"),
        "HOME": str(place),
        "COLUMNS": "200",
    }
    tempfile.tempdir = None
    atexit._clear()


def leave_with(act: Callable[[], int]) -> NoReturn:
    """Ends this process with the exit code that `act` returns, as an interpreter that ends does."""
    code = 99
    try:
        code = act()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            atexit._run_exitfuncs()
        os._exit(code)


def _child(act: Callable[[], int], place: Path) -> None:
    enter(place)
    _limit()
    worker.run_watched = runner_process.run_watched = _forked
    leave_with(act)


def _streams() -> tuple[IO[str], IO[str]]:
    # The descriptors stay open when a stream goes: native code writes into them.
    made = [os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False) for number in (1, 2)]
    return made[0], made[1]


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MORE_MEMORY_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A file that makes a reader write without end is stopped too.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _wait(pid: int) -> tuple[int, str]:
    """Returns the exit code of a child, and the limit that it reached."""
    end = time.monotonic() + WALL_SECONDS
    limit, pause = "", 0.001
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            break
        if time.monotonic() > end and not limit:
            limit = f"{WALL_SECONDS} s of time"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, -signal.SIGKILL) and not limit:
        limit = f"{CPU_SECONDS} s of CPU time"
    return code, limit


def _forked(requested: Command, on_poll: Callable[[], None]) -> Ended:
    """Stands in the place of `run_watched`: the worker process is a fork of this one."""
    started = time.monotonic()
    requested.log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if not pid:
        _worker(requested)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    on_poll()
    is_run = "--artifact" in " ".join(requested.arguments)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        if is_run:  # a runtime that computes for long is ended by its limit, and that is all one can do
            raise ResourceError(f"The {requested.title} was stopped after {requested.timeout_s:.0f} s, its time limit.")
        os.kill(os.getpid(), signal.SIGXCPU)
    return Ended(returncode=code, wall_s=time.monotonic() - started, cpu_s=0.0, peak_memory_bytes=0)


def _worker(requested: Command) -> None:
    with requested.log.open("wb") as log:
        become_worker(requested.arguments, requested.environment, log.fileno())


def become_worker(arguments: Sequence[str], environment: Mapping[str, str], output: int) -> NoReturn:
    """Does in a child that was just forked what a fresh interpreter with these arguments would do.

    Args:
        arguments: Of `python_command`, or of the runner.
        environment: Variables to add.
        output: Descriptor of the log.
    """
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = _streams()
        os.environ |= {key: value for key, value in environment.items() if key != "PYTHONPATH"}
        tempfile.tempdir = None
        atexit._clear()
        script = next((word for word in arguments if word.endswith("runner.py")), None)
        if script is None:
            # The start of a worker is `python -c START FOLDER ROOT`.
            code = worker.main(Path(arguments[-2]))
        else:
            code = _run_script(script, list(arguments[arguments.index(script) + 1 :]))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            remove_process_folders()
        os._exit(code)


def _run_script(script: str, arguments: list[str]) -> int:
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def remove(place: Path) -> None:
    """Removes the folder of a run, whatever it has made there."""
    shutil.rmtree(place, ignore_errors=True)
