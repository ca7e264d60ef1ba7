"""Two ways to start a command: as a person does, and as a fork of a process that has all frameworks loaded.

The fork has the same processes, groups, signals and files as the real one. Only the start of its interpreters and the
imports are missing, which take most of a short command's time and write nothing: kills hit what matters more often.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from fuzzing.forked_run import become_worker, enter, leave_with
from fuzzing.seeds import ROOT

from edgekit import __main__
from edgekit.workers import process


def start_real(arguments: tuple[str, ...], place: Path) -> int:
    """Starts `python -m edgekit ARGUMENTS` in `place/work`; returns the process id of its group's leader."""
    pid = os.fork()
    if not pid:
        enter(place)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-m", "edgekit", *arguments], environment)
    return pid


def start_forked(arguments: tuple[str, ...], place: Path) -> int:
    """Does the same with a fork of this process, whose workers are forks too."""
    pid = os.fork()
    if not pid:
        enter(place)
        # Only what `run_watched` starts; the rest of the process goes on as it is.
        process.subprocess = SimpleNamespace(Popen=_ForkedProcess, DEVNULL=None, STDOUT=None)  # type: ignore[assignment]
        sys.argv = ["edgekit", *arguments]
        leave_with(__main__.run)
    return pid


class _ForkedProcess:
    """What `run_watched` uses of a `Popen`."""

    def __init__(self, arguments: Sequence[str], *, stdout: IO[bytes], env: Mapping[str, str], **_: Any) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            become_worker(arguments, env, stdout.fileno())

    def wait(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
