"""Files at a URL that fsspec opens (s3, gs, http, a folder, ...), with a time limit and a pause after an outage.

Nothing here raises for a store that is away, slow or full: a caller gets `None` or `False` and does the work itself.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, final

from edgekit.errors import ConfigError, MissingDependencyError
from edgekit.plain_text import first_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it ships no types

ValueT = TypeVar("ValueT")

_LIMIT_S: Final = 20.0
"""Seconds that a small request may take."""
_SLOWEST_BYTES_PER_S: Final = 1 << 20
"""Whoever moves a blob more slowly than this is away."""
_PAUSE_S: Final = 60.0
"""How long nobody asks a store that failed."""
_ATTEMPTS: Final = 2
_WHOLE: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory", "http", "https"})
"""Protocols that show a file when all of it has arrived; elsewhere it is renamed into its place."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStore:
    """Files below one URL.

    Attributes:
        url: Such as `s3://bucket/prefix`; what it needs to log in is the protocol's own (environment, config files).
        pause_file: Its time says since when the store is left alone; processes of one machine share it.
        complain: Called with a sentence when the store failed.
    """

    url: str
    pause_file: Path
    complain: Callable[[str], None]
    _opened: list[tuple[AbstractFileSystem, str]] = field(default_factory=list[Any], init=False, repr=False)

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """Returns the content of a small file; None where there is none, or where it is larger than `most_bytes`."""

        def read(system: AbstractFileSystem, path: str) -> bytes | None:
            content = cast("bytes", system.cat_file(path, start=0, end=most_bytes + 1))
            return content if len(content) <= most_bytes else None

        return self._attempt(name, _LIMIT_S, read)

    def fetch(self, name: str, target: Path, size_bytes: int) -> bool:
        """Writes a file to `target`; False where there is none of that size."""

        def fetch(system: AbstractFileSystem, path: str) -> bool:
            if system.info(path).get("size") not in (size_bytes, None):
                return False
            system.get_file(path, str(target))
            return target.stat().st_size == size_bytes

        return self._attempt(name, _limit_s(size_bytes), fetch) or False

    def holds(self, name: str) -> bool:
        """Returns True where there is a file of this name."""
        return self._attempt(name, _LIMIT_S, lambda system, path: bool(system.exists(path))) or False

    def write(self, name: str, content: Path | bytes) -> bool:
        """Writes a file, which nobody sees before it is complete; False where that failed."""
        size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size

        def write(system: AbstractFileSystem, path: str) -> bool:
            whole = _protocol(system) in _WHOLE
            place = path if whole else f"{path}.{uuid.uuid4().hex}.part"
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                if isinstance(content, bytes):
                    system.pipe_file(place, content)
                else:
                    system.put_file(str(content), place)
                if not whole:
                    system.mv(place, path)
            except BaseException:
                with suppress(Exception):
                    if not whole:
                        system.rm_file(place)
                raise
            return True

        return self._attempt(name, _limit_s(size_bytes), write) or False

    def is_paused(self) -> bool:
        """Returns True while the store is left alone because it failed."""
        try:
            return time.time() - self.pause_file.stat().st_mtime < _PAUSE_S
        except OSError:
            return False

    def _attempt(
        self, name: str, limit_s: float, work: Callable[[AbstractFileSystem, str], ValueT | None]
    ) -> ValueT | None:
        """Returns what `work` does, None where the file is missing or the store fails or is left alone."""
        if self.is_paused():
            return None
        said = ""
        for _ in range(_ATTEMPTS):
            try:
                return _within(limit_s, lambda: work(*self._open(name)))
            except FileNotFoundError:
                return None
            except (ConfigError, MissingDependencyError):
                raise
            except Exception as error:
                said = first_line(error)
        with suppress(OSError):
            self.pause_file.touch()
        self.complain(f"{self.url} does not answer ({said}); everything is made here for the next {_PAUSE_S:.0f} s")
        return None

    def _open(self, name: str) -> tuple[AbstractFileSystem, str]:
        """Returns the file system and the path of a file in it.

        Raises:
            ConfigError: no such protocol.
            MissingDependencyError: what the protocol needs is not installed.
        """
        if not self._opened:
            self._opened.append(open_url(self.url))
        system, root = self._opened[0]
        return system, f"{root.rstrip('/')}/{name}"


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """Returns the file system that a URL names, and the path in it. Asks nobody yet.

    Raises:
        ConfigError: no such protocol.
        MissingDependencyError: fsspec, or what the protocol needs, is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(
            "A shared cache needs fsspec, which is not installed. Install it from the checkout: pip install -e '.[s3]' "
            "or '.[gcs]'"
        ) from error
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(f'The shared cache "{url}" cannot be opened: {error}') from error
    except ValueError as error:
        raise ConfigError(
            f'The shared cache "{url}" cannot be opened: {error}. Give a URL such as s3://bucket/prefix, '
            "gs://bucket/prefix, https://host/path or a folder."
        ) from error
    return system, root


def _protocol(system: AbstractFileSystem) -> str:
    named = system.protocol
    return named if isinstance(named, str) else named[0]


def _limit_s(size_bytes: int) -> float:
    return _LIMIT_S + size_bytes / _SLOWEST_BYTES_PER_S


def _within(limit_s: float, work: Callable[[], ValueT]) -> ValueT:
    """Returns what `work` returns or raises what it raises, unless that takes too long.

    Raises:
        TimeoutError: it took too long; it goes on in a thread that no exit waits for.
    """
    answers: queue.SimpleQueue[tuple[ValueT | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name=f"shared-cache-{os.getpid()}", daemon=True).start()
    try:
        value, error = answers.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError(f"no answer in {limit_s:.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # without an error it is what `work` returned
