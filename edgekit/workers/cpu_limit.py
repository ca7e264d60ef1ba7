"""Ends a worker whose native reader does not come back: a damaged file can make one loop for ever.

No Python code runs while a library computes in C, so only the kernel can end it: the process is killed by the timer of
its processor time, and the parent says what the worker wrote down before.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgekit.errors import EdgekitError
from edgekit.workers.atomic_files import write_text

_NAME: Final = "cpu_limit.json"

_job_folders: list[Path] = []


def limit_in(folder: Path) -> None:
    """Says in which folder the job of this process lies. Outside of a worker nothing is limited."""
    _job_folders[:] = [folder]


@contextmanager
def cpu_limit(seconds: float, error: EdgekitError) -> Iterator[None]:
    """Ends this worker once the block has taken `seconds` of processor time, all threads together.

    Args:
        seconds: Far more than the slowest machine needs for a sound file.
        error: What the parent then raises.
    """
    if not _job_folders:
        yield
        return
    path = _job_folders[0] / _NAME
    write_text(path, json.dumps({"error": type(error).__name__, "message": error.message}))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.unlink()


def reached_limit(folder: Path, returncode: int) -> dict[str, str] | None:
    """Returns the error that a worker left for its limit, name and message; None where that did not end it."""
    path = folder / _NAME
    if returncode != -signal.SIGPROF or not path.exists():
        return None
    left: dict[str, str] = json.loads(path.read_text())
    return left
