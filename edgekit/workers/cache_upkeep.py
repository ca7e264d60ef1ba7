"""What keeps a cache small and sound: its entries by last use, the size limit, removal, a check of all digests."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from edgekit.errors import ConfigError, InputError
from edgekit.units import parse_bytes
from edgekit.workers.entry_digests import DIGESTS_NAME, find_damage
from edgekit.workers.file_lock import remove_free_locks
from edgekit.workers.process_folder import oldest_start, process_folder, sweep

DEFAULT_LIMIT: Final = "20 GB"
LIMIT_VARIABLE: Final = "EDGEKIT_CACHE_SIZE"

RUNNING_NAME: Final = ".running"
"""Folder of what processes are making now."""
LOCKS_NAME: Final = ".locks"
"""Folder of the lock files of entries that are being made."""

_STAMP_NAME: Final = ".swept"
_SECONDS_BETWEEN_SWEEPS: Final = 60.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """A folder in the cache.

    Attributes:
        folder: Where it lies: `ROOT/KIND/KEY`.
        size_bytes: Sum over its files.
        used: When it was last found or made, POSIX time.
        is_finished: False for a journal: the parts of a long piece of work that may still go on.
    """

    folder: Path
    size_bytes: int
    used: float
    is_finished: bool

    @property
    def kind(self) -> str:
        """What it holds: artifacts, samples and so on."""
        return self.folder.parent.name


def cache_limit_bytes() -> int:
    """Returns the largest size that the cache may have: `EDGEKIT_CACHE_SIZE`, else 20 GB.

    Raises:
        ConfigError: the variable holds no size.
    """
    text = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    try:
        return parse_bytes(text, LIMIT_VARIABLE)
    except InputError as error:
        raise ConfigError(error.message) from error


def stored_entries(root: Path) -> tuple[StoredEntry, ...]:
    """Returns what lies in the cache, the longest unused first. What vanishes meanwhile is left out."""
    found: list[StoredEntry] = []
    for kind in _folders(root):
        for folder in _folders(kind):
            try:
                infos = [item.lstat() for item in (folder, *folder.rglob("*"))]
                digests = folder / DIGESTS_NAME
                is_finished = digests.exists()
                used = digests.lstat().st_mtime if is_finished else max(info.st_mtime for info in infos)
            except OSError:
                continue
            size = sum(info.st_size for info in infos if stat.S_ISREG(info.st_mode))
            found.append(StoredEntry(folder=folder, size_bytes=size, used=used, is_finished=is_finished))
    return tuple(sorted(found, key=lambda entry: (entry.used, str(entry.folder))))


def tidy(root: Path, *, now: bool = False) -> None:
    """Removes what dead processes left, and the longest unused entries beyond the size limit.

    Looks once a minute at most: on a large cache a look costs some 100 ms.

    Args:
        root: Root folder of the cache.
        now: Look whenever the last look was.

    Raises:
        ConfigError: see `cache_limit_bytes`.
        OSError: the cache cannot be written.
    """
    limit = cache_limit_bytes()
    stamp = root / _STAMP_NAME
    try:
        if not now and time.time() - stamp.stat().st_mtime < _SECONDS_BETWEEN_SWEEPS:
            return
    except FileNotFoundError:
        pass
    stamp.touch(mode=0o600)
    remove_free_locks(root / LOCKS_NAME)
    remove_beyond(root, limit)


def remove_beyond(root: Path, limit_bytes: int) -> tuple[StoredEntry, ...]:
    """Removes the longest unused entries until the rest keeps the limit. Returns what was removed.

    What has been used since the oldest running process began stays: it may need it again.
    """
    sweep(root / RUNNING_NAME)
    entries = stored_entries(root)
    running_since = oldest_start(root / RUNNING_NAME)
    total = sum(entry.size_bytes for entry in entries)
    removed: list[StoredEntry] = []
    for entry in entries:
        if total <= limit_bytes or (running_since is not None and entry.used >= running_since):
            break
        if remove_entry(root, entry.folder):
            total -= entry.size_bytes
            removed.append(entry)
    return tuple(removed)


def remove_damaged(root: Path) -> tuple[tuple[StoredEntry, str], ...]:
    """Checks the digests of all finished entries and removes the damaged ones. Returns these, each with its damage."""
    found: list[tuple[StoredEntry, str]] = []
    for entry in stored_entries(root):
        damage = find_damage(entry.folder) if entry.is_finished else None
        if damage is not None and remove_entry(root, entry.folder):
            found.append((entry, damage))
    return tuple(found)


def remove_entry(root: Path, folder: Path) -> bool:
    """Removes an entry at once, however many files it has. Returns False where it is gone already."""
    aside = Path(tempfile.mkdtemp(dir=process_folder(root / RUNNING_NAME)))
    try:
        folder.rename(aside / "old")
    except FileNotFoundError:
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def total_bytes(entries: Sequence[StoredEntry]) -> int:
    """Returns the sum of their sizes."""
    return sum(entry.size_bytes for entry in entries)


def _folders(parent: Path) -> Iterator[Path]:
    """Yields the folders in a folder, without links and hidden ones; none where it cannot be read."""
    try:
        for item in sorted(parent.iterdir()):
            if not item.name.startswith(".") and stat.S_ISDIR(item.lstat().st_mode):
                yield item
    except OSError:
        return
