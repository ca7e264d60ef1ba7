"""A folder for what a process writes on the way: removed when the process ends, or by the next one if it was killed.

Each has a lock file that its process holds as long as it lives, so that nobody must guess from names, ids or ages
whether what lies there is still in use.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from edgekit.errors import ResourceError
from edgekit.workers.file_lock import take_lock

PREFIX: Final = "edgekit-process-"

_LOCK_NAME: Final = ".lock"

# A folder without a lock file is one that is being made, or whose maker died in that very moment.
_MAKING_TAKES_S: Final = 60.0


def process_folder(parent: Path) -> Path:
    """Returns this process's own folder below `parent`, made at the first call; what dead processes left is removed.

    Raises:
        OSError: `parent` cannot be written.
    """
    return _FOLDERS.get(parent)


def remove_process_folders() -> None:
    """Removes this process's own folders: what a process calls that ends without `atexit`."""
    _FOLDERS.remove()


@contextmanager
def temporary_folder(purpose: str) -> Generator[Path, None, None]:
    """Yields an empty folder in the system's temporary folder, removed afterwards, at the latest by the next process.

    Args:
        purpose: First part of its name, for people who look there.

    Raises:
        ResourceError: there is no temporary folder that can be written.
    """
    try:
        parent = process_folder(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=parent))
    except OSError as error:
        raise ResourceError(
            f"The temporary folder cannot be written: {error.strerror}. Free it, or name another one with TMPDIR."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> int:
    """Removes the folders of this user's processes that have ended without doing so. Returns how many."""
    removed = 0
    for folder in _own_folders(parent):
        lock = folder / _LOCK_NAME
        try:
            if not lock.exists() and time.time() - folder.stat().st_mtime < _MAKING_TAKES_S:
                continue
            handle = take_lock(lock)
        except OSError:
            continue  # it vanished: its process ended, or another one sweeps
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
            removed += 1
    return removed


def oldest_start(parent: Path) -> float | None:
    """Returns when the first of the processes that have a folder below `parent` began (POSIX time), or None."""
    starts: list[float] = []
    for folder in _own_folders(parent):
        try:
            starts.append((folder / _LOCK_NAME).stat().st_mtime)
        except OSError:
            continue
    return min(starts, default=None)


def _own_folders(parent: Path) -> Iterator[Path]:
    """Yields the folders of this user's processes. Links and other users' folders are none."""
    try:
        found = sorted(parent.glob(f"{PREFIX}*"))
    except OSError:
        return
    for folder in found:
        try:
            info = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
            yield folder


@final
@dataclass(frozen=True, slots=True)
class _Folders:
    """The folders that this process holds, by parent and process id: a forked child makes its own."""

    held: dict[tuple[Path, int], Path] = field(default_factory=dict[tuple[Path, int], Path])
    guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, parent: Path) -> Path:
        key = (parent, os.getpid())
        with self.guard:
            folder = self.held.get(key)
            if folder is None or not folder.is_dir():  # somebody may have emptied the temporary folder
                sweep(parent)
                folder = self.held[key] = _make(parent)
            return folder

    def remove(self) -> None:
        with self.guard:
            own = [key for key in self.held if key[1] == os.getpid()]
            for key in own:
                shutil.rmtree(self.held.pop(key), ignore_errors=True)


_FOLDERS: Final = _Folders()


def _make(parent: Path) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            handle = take_lock(folder / _LOCK_NAME)
        except FileNotFoundError:
            handle = None
        if handle is not None:
            atexit.register(remove_process_folders)
            return folder  # the descriptor stays open, and with it the lock, until the process ends
