"""Starts a program in a process group of its own and watches it: a time limit, a memory limit, a log, no orphans."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, final

from edgekit.errors import ResourceError
from edgekit.units import format_bytes

_POLL_SECONDS: Final = 0.05
_LOG_TAIL_LINES: Final = 15

_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)

_NO_MEMORY: Final = (
    "MemoryError",
    "std::bad_alloc",
    "annot allocate memory",
    "an't allocate memory",
    "ailed to allocate memory",
    "OOM when allocating",
    "failed to map segment from shared object",
    "can't start new thread",
)
"""What runtimes and libraries say where they get no memory."""

OUT_OF_MEMORY: Final = (
    "This machine ran out of memory. Free some, use a smaller model, or let one worker run at a time (--jobs 1, in "
    "commands that have it)."
)

_TRACEBACK: Final = "Traceback (most recent call last):"

_NOISE: Final = re.compile(r"Error in cpuinfo|\[(cpuinfo_utils|threadpool)\.cpp:\d+\]|WARNING: All log messages before")
"""Lines of native libraries about the machine, which hide what went wrong."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start, and its limits.

    Attributes:
        title: For messages: `conversion to tflite`.
        arguments: Program and arguments.
        log: Where its stdout and stderr go, one after the other as they come.
        timeout_s: Wall-clock limit.
        memory_limit_bytes: Limit on the resident set of the process and its children; None for no limit.
        environment: Variables added to this process's environment.
        fork: What the process does where it is a fork of this one, called with the number of the log's descriptor;
            None starts `arguments`.
    """

    title: str
    arguments: Sequence[str]
    log: Path
    timeout_s: float
    memory_limit_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    fork: Callable[[int], NoReturn] | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        returncode: Exit code; negative where a signal ended it.
        wall_s: Seconds from start to end.
        cpu_s: CPU seconds of the process and the children that it waited for.
        peak_memory_bytes: Largest resident set seen by the kernel.
    """

    returncode: int
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int

    @property
    def crashed(self) -> bool:
        """True if its own code made it end: a wrong address, a failed assertion. Not if somebody ended it."""
        return -self.returncode in _CRASHES

    @property
    def how(self) -> str:
        """How it ended, in words: `was ended by signal 11 (SIGSEGV)` or `ended with exit code 1`."""
        if self.returncode >= 0:
            return f"ended with exit code {self.returncode}"
        try:
            name = f" ({signal.Signals(-self.returncode).name})"
        except ValueError:
            name = ""  # a real-time signal has no name
        return f"was ended by signal {-self.returncode}{name}"


def run_watched(command: Command, on_poll: Callable[[], None]) -> Ended:
    """Runs `command` to its end.

    Args:
        command: What to run.
        on_poll: Called about 20 times a second while it runs, and once after it has ended.

    Raises:
        ResourceError: the time or the memory limit was reached; the process and its children are gone.
        KeyboardInterrupt: passed on after the process was ended.
    """
    started = time.monotonic()
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("wb") as stream:
        process = _started(command, stream)
        try:
            returncode, cpu_s, peak = _watch(process, command, started, on_poll)
        except BaseException:
            _end(process)
            raise
    on_poll()
    return Ended(returncode=returncode, wall_s=time.monotonic() - started, cpu_s=cpu_s, peak_memory_bytes=peak)


@final
@dataclass(slots=True)
class _Fork:
    """A fork of this process, by the part of `subprocess.Popen` that watching it needs."""

    pid: int
    returncode: int | None = None

    def wait(self) -> None:
        """Waits until it has ended."""
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _started(command: Command, log: BinaryIO) -> subprocess.Popen[bytes] | _Fork:
    """Starts the process in a group of its own: a limit or Ctrl-C ends its own children too."""
    if command.fork is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            command.fork(log.fileno())
        with suppress(OSError):  # whoever comes first; a fork that has ended has no group any more
            os.setpgid(pid, pid)
        return _Fork(pid)
    return subprocess.Popen(
        list(command.arguments),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **command.environment},
        start_new_session=True,
    )


def ran_out_of_memory(ended: Ended, log: Path) -> bool:
    """Returns whether a process died because there was no memory left, by the kernel's hand or by its own words."""
    if ended.returncode == -signal.SIGKILL:
        return True  # of those who send it, edgekit itself has said so already, and the kernel is left
    return _says_no_memory(log.read_text(errors="replace") if log.exists() else "")


def lacked_memory(error: BaseException | None) -> bool:
    """Returns whether an exception, or one that it was raised from, says that there was no memory left.

    Whoever wraps what user code or a framework raises cannot tell each kind of it; this asks all of the chain.
    """
    while error is not None:
        if isinstance(error, MemoryError) or _says_no_memory(str(error)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _says_no_memory(text: str) -> bool:
    return any(words in text for words in _NO_MEMORY)


def log_tail(log: Path) -> str:
    """Returns the last lines of a log, indented under a heading, or a sentence where there are none.

    Of a Python traceback only the exception is shown: its frames are of no use to who has the file.
    """
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line for line in _without_frames(text.strip()).splitlines() if not _NOISE.match(line)][-_LOG_TAIL_LINES:]
    if lines:
        return "The end of its log:\n" + "\n".join(f"  {line}" for line in lines)
    return "Its log says nothing about it." if text.strip() else "Its log is empty."


def _without_frames(text: str) -> str:
    """Returns a log in which each traceback of Python is left with its last line."""
    return re.sub(rf"^{re.escape(_TRACEBACK)}(?:\n[ \t].*)*\n?", "", text, flags=re.MULTILINE)


def _watch(
    process: subprocess.Popen[bytes] | _Fork, command: Command, started: float, on_poll: Callable[[], None]
) -> tuple[int, float, int]:
    """Waits for the process and enforces the limits. Returns (exit code, CPU seconds, peak bytes)."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = code = os.waitstatus_to_exitcode(status)
            # ru_maxrss is in KiB on Linux and in bytes on macOS.
            scale = 1 if sys.platform == "darwin" else 1024
            return code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale
        on_poll()
        if time.monotonic() - started > command.timeout_s:
            raise ResourceError(
                f"The {command.title} was stopped after {command.timeout_s:.0f} s, its time limit. "
                "Raise the limit with --timeout, or give the machine more time or a smaller model."
            )
        limit = command.memory_limit_bytes
        if limit is not None and (used := _resident_bytes(process.pid)) > limit:
            raise ResourceError(
                f"The {command.title} was stopped at {format_bytes(used)} of memory; its limit is "
                f"{format_bytes(limit)}. Raise the limit with --memory-limit, or use a smaller model."
            )
        time.sleep(_POLL_SECONDS)


def _resident_bytes(pid: int) -> int:
    """Returns the resident set of a process and its children; what has ended holds nothing."""
    import psutil

    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def _end(process: subprocess.Popen[bytes] | _Fork) -> None:
    """Ends the process and everything it started, and waits until they are gone."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself between the last look and now
    if process.returncode is None:
        process.wait()
