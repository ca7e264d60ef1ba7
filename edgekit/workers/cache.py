"""A cache of finished work by content: folders named by a hash of everything that they depend on.

An entry is made in a scratch folder beside its final place and renamed when it is complete, so an entry that exists
is complete, and work that was interrupted is simply missing. That is also how a killed run resumes: what was done is
found. What happens to an entry afterwards (a bad disk, a hand that edits) is found by its digests, and it is made anew.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import ConfigError, ResourceError
from edgekit.workers.cache_upkeep import (
    LOCKS_NAME,
    RUNNING_NAME,
    remove_entry,
    stored_entries,
    tidy,
    total_bytes,
)
from edgekit.workers.entry_digests import DIGESTS_NAME, find_damage, write_digests
from edgekit.workers.file_lock import file_lock
from edgekit.workers.private_folder import make_private_folder, private_folder
from edgekit.workers.process_folder import process_folder
from edgekit.workers.shared_cache import SharedCache, shared_cache

_SILENT_WAIT_S: Final = 1.0
_PUBLISHING_ATTEMPTS: Final = 100


def cache_folder() -> Path:
    """Returns where the cache lies: `EDGEKIT_CACHE_DIR`, else the platform's cache folder. Creates nothing.

    A user without a home folder (a container's unknown user) has none of these; the temporary folder is what is left.

    Raises:
        ConfigError: the variable names the home folder of a user who has none.
    """
    if configured := os.environ.get("EDGEKIT_CACHE_DIR"):
        try:
            return Path(configured).expanduser().absolute()
        except (RuntimeError, FileNotFoundError):
            raise ConfigError(
                f'EDGEKIT_CACHE_DIR="{configured}": there is no such home folder or current folder. '
                "Give an absolute path."
            ) from None
    if sys.platform != "darwin" and (named := os.environ.get("XDG_CACHE_HOME")):
        return Path(named) / "edgekit"
    try:
        home = Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"edgekit-cache-{os.geteuid()}"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "edgekit"
    return home / ".cache" / "edgekit"


def content_key(facts: Mapping[str, Any]) -> str:
    """Returns a short hash of JSON-able `facts`; equal facts in any order give equal keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


@cache
def code_fingerprint() -> str:
    """Returns a hash of edgekit's own source: an entry made by other code is never reused."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    folders = (root, *(root / name for name in ("converters", "validators", "device_profiles")))
    for folder in folders:
        for path in sorted(folder.resolve().rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def versions(distributions: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    """Returns the installed version of each distribution, "" where it is missing. Imports nothing."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in distributions.values() if isinstance(distributions, Mapping) else distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


Notice = Callable[[str, str, float | None], None]
"""Called with (stage, phrase, share done): what a cache has to say: that it waits, that an entry was damaged."""


def unheard(stage: str, phrase: str, share: float | None = None) -> None:
    """A `Notice` that tells nobody."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Entries under one root folder, which many processes may share.

    Where others may write into the root, each user's entries lie in a folder of their own in it.

    Attributes:
        root: Where entries lie; made when the first one is.
        reuse: False makes every entry anew (`--no-cache`) and replaces the one that was there.
        notice: Callback for a cache that waits for another process, for a damaged entry, and for a shared cache that
            does not answer.
        cancelled: Once set, waiting for another process ends with KeyboardInterrupt.
    """

    root: Path
    reuse: bool = True
    notice: Notice = unheard
    cancelled: threading.Event = field(default_factory=threading.Event)
    # Entries whose digests were checked in this run, with what was found: reading gigabytes once is enough.
    _checked: dict[Path, str | None] = field(default_factory=dict[Path, "str | None"], init=False, repr=False)
    # Opened when an entry is missed for the first time: a list of one, None where no shared cache is named.
    _shared: list[SharedCache | None] = field(default_factory=list["SharedCache | None"], init=False, repr=False)
    # What it did not have: it is not asked again in this run.
    _not_shared: set[tuple[str, str]] = field(default_factory=set["tuple[str, str]"], init=False, repr=False)

    def find(self, kind: str, key: str) -> Path | None:
        """Returns the folder of a finished entry that is as it was made, or None.

        An entry that is missing here and lies in the shared cache (see `shared_cache`) is fetched from there.

        Raises:
            ConfigError: `EDGEKIT_SHARED_CACHE` is wrong.
            MissingDependencyError: what the shared cache needs is not installed.
            ResourceError: the cache folder cannot be used.
        """
        if not self.reuse:
            return None
        return self._find(kind, key) or self._fetch(kind, key)

    def make(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """Returns the folder of the entry, made by `build(folder)` if it is not there yet.

        Of several processes and threads that want the same entry one makes it; the others wait and find it.

        Raises:
            ConfigError: `EDGEKIT_CACHE_SIZE` holds no size.
            ResourceError: the cache folder cannot be written.
            KeyboardInterrupt: it was cancelled while it waited.
            Exception: whatever `build` raises; then nothing is left behind.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        with self._writable() as root:
            tidy(root)
            final_folder = root / kind / key
            _make_folder(final_folder.parent)
            lock = file_lock(root / LOCKS_NAME / f"{kind}-{key}", self._wait)
        with self._locked(lock):
            # Whoever held the lock before has made it, or made it anew.
            if self._checked.get(final_folder) is not None:
                self._checked[final_folder] = find_damage(final_folder)
            found = self._find(kind, key) if self.reuse else None
            if found is not None:
                return found
            with self.scratch() as scratch:
                made = scratch / "new"
                made.mkdir()
                build(made)
                self._publish(made, final_folder, scratch / "old")
        if (shared := self._shared_cache()) is not None:
            shared.put(kind, key, final_folder)
        return final_folder

    def journal(self, kind: str, key: str) -> Path:
        """Returns a folder for the parts of a long piece of work, each of which its maker writes whole or not at all.

        Unlike an entry it is there while it is unfinished, so that what was done before a kill is found again.

        Raises:
            ResourceError: the cache folder cannot be written.
        """
        with self._writable() as root:
            folder = root / kind / key
            _make_folder(folder.parent)
            if not self.reuse and folder.exists():
                remove_entry(root, folder)
            _make_folder(folder)
            folder.touch()  # it is in use: the size limit takes what was not used for longest
            return folder

    @contextmanager
    def scratch(self) -> Generator[Path, None, None]:
        """Yields an empty folder beside the entries (so that moving into one is a rename), removed afterwards.

        Raises:
            ResourceError: the cache folder cannot be written.
        """
        with self._writable() as root:
            folder = Path(tempfile.mkdtemp(dir=process_folder(root / RUNNING_NAME)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def place(self) -> Path:
        """Returns the folder that holds the entries: `root`, or this user's own in it. Creates nothing.

        Raises:
            ResourceError: the cache folder cannot be used.
        """
        try:
            return private_folder(self.root)
        except OSError as error:
            raise self._unwritable(error) from error

    def size_bytes(self) -> int:
        """Returns the sum of all files in the cache."""
        return total_bytes(stored_entries(self.place()))

    def _find(self, kind: str, key: str) -> Path | None:
        root = self.place()
        folder = root / kind / key
        try:
            if not stat.S_ISDIR(folder.lstat().st_mode) or not stat.S_ISDIR(folder.parent.lstat().st_mode):
                return None
        except OSError:
            return None
        if folder not in self._checked:
            _mark_used(root, folder)
            damage = self._checked[folder] = find_damage(folder)
            if damage is not None:
                self.notice("cache", f"{kind} {key[:8]} is damaged ({damage}): it is made anew", None)
        return folder if self._checked[folder] is None else None

    def _fetch(self, kind: str, key: str) -> Path | None:
        """Returns the folder of an entry that came from the shared cache, None where it has none."""
        shared = self._shared_cache()
        if shared is None or (kind, key) in self._not_shared:
            return None
        self._not_shared.add((kind, key))
        with self.scratch() as scratch:
            made = scratch / "new"
            made.mkdir()
            with self._writable() as root:
                if not shared.fetch(kind, key, made):
                    return None
                _make_folder(root / kind)
            self._publish(made, root / kind / key, scratch / "old")
            self.notice("cache", f"{kind} {key[:8]} came from {shared.store.url}", None)
        return root / kind / key

    def _shared_cache(self) -> SharedCache | None:
        if not self._shared:
            self._shared.append(shared_cache(self.root, lambda phrase: self.notice("cache", phrase, None)))
        return self._shared[0]

    def _publish(self, made: Path, final_folder: Path, aside: Path) -> None:
        """Puts a finished entry in its place, and the one that is there aside."""
        with self._writable():
            write_digests(made)
            # On a file system without locks another process may have been quicker; then its entry stays or goes whole.
            for _ in range(_PUBLISHING_ATTEMPTS):
                with suppress(FileNotFoundError):
                    final_folder.rename(aside)
                try:
                    made.rename(final_folder)
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    shutil.rmtree(aside, ignore_errors=True)
        self._checked[final_folder] = None

    def _wait(self, seconds: float) -> None:
        if self.cancelled.is_set():
            raise KeyboardInterrupt
        if seconds > _SILENT_WAIT_S:
            self.notice("waiting", "another process is making the same; its result will be used", None)

    @contextmanager
    def _locked(self, lock: AbstractContextManager[None]) -> Generator[None, None, None]:
        """Holds the lock; what goes wrong in taking it is the cache's fault, what happens under it is not."""
        with self._writable():
            lock.__enter__()
        with ExitStack() as stack:
            stack.push(lock)
            yield

    @contextmanager
    def _writable(self) -> Generator[Path, None, None]:
        """Yields the folder that entries go into; an OSError inside becomes the one message about the cache folder."""
        try:
            root = make_private_folder(self.root)
            _make_folder(root / RUNNING_NAME)
            _make_folder(root / LOCKS_NAME)
            yield root
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"The cache folder {self.root} cannot be written: {error.strerror}. "
            "Free it, or name another one with EDGEKIT_CACHE_DIR."
        )


def _make_folder(folder: Path) -> None:
    """Makes a folder that only this user can enter; a link in its place is an error.

    Raises:
        OSError: it cannot be made, or something else lies there.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _mark_used(root: Path, folder: Path) -> None:
    """Notes that an entry is in use, for the size limit: since now, and by this process."""
    # Nobody takes entries away from a cache that cannot be written.
    with suppress(OSError):
        _make_folder(root / RUNNING_NAME)
        process_folder(root / RUNNING_NAME)
        os.utime(folder / DIGESTS_NAME)
