"""A cache that a team shares: what one machine has made, the others find, at any URL that fsspec opens.

Two parts, as Bazel's remote cache has them. `actions/SCOPE/KIND/KEY.json` says which files an entry has, with size and
SHA-256; `blobs/xx/SHA256` are their contents. An action is written after its blobs, so an upload that broke off shows
nothing, and all that arrives is held against the digests. Whoever may write there can plant results that others take
for their own work: people read, CI writes.

What depends on the machine (timings, memory) is never shared. The scope is what else numbers depend on: the platform,
Python's version, and for kinds that compute in floating point the processor's features.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, final

from edgekit.errors import ConfigError, UsageError
from edgekit.workers.entry_digests import DIGESTS_NAME, file_digest, parse_digests, read_digests
from edgekit.workers.remote_store import RemoteStore, open_url

URL_VARIABLE: Final = "EDGEKIT_SHARED_CACHE"
WRITE_VARIABLE: Final = "EDGEKIT_SHARED_CACHE_WRITE"

_PLAIN_KINDS: Final = frozenset({"captured", "analyses", "samples", "lint"})
"""Kinds that copy and count: what they give does not depend on how a processor adds up."""
_COMPUTED_KINDS: Final = frozenset({"reference", "techniques", "artifacts", "trials"})
SHARED_KINDS: Final = _PLAIN_KINDS | _COMPUTED_KINDS

_LARGEST_ACTION: Final = 8 << 20
_PAUSE_NAME: Final = "shared-cache-paused"
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCache:
    """Entries of a cache at a URL.

    Attributes:
        store: Where they lie.
        writes: Whether what is made here goes there.
    """

    store: RemoteStore
    writes: bool
    # Actions that did not hold what they said: whoever may write puts them there anew.
    _damaged: set[str] = field(default_factory=set[str], init=False, repr=False)

    def fetch(self, kind: str, key: str, folder: Path) -> bool:
        """Writes the files of an entry into an empty folder; False where there is none, or not as it was made.

        Raises:
            OSError: the folder cannot be written.
        """
        if kind not in SHARED_KINDS:
            return False
        action = _action(kind, key)
        listed = self.store.read(action, _LARGEST_ACTION)
        if listed is None:
            return False
        files = _readable(listed)
        for name, (size, digest) in (files or {}).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self.store.fetch(_blob(digest), target, size) or file_digest(target) != digest:
                files = None
                break
        if files is None:
            self._damaged.add(action)
        return files is not None

    def put(self, kind: str, key: str, folder: Path) -> None:
        """Uploads a finished entry, unless it is there as it was made, or nothing may be written."""
        if not self.writes or kind not in SHARED_KINDS or self.store.is_paused():
            return
        action, files = _action(kind, key), read_digests(folder)
        anew = action in self._damaged
        if files is None or (not anew and self.store.holds(action)):
            return
        for name, (_, digest) in files.items():
            there = not anew and self.store.holds(_blob(digest))
            if not there and not self.store.write(_blob(digest), folder / name):
                return
        if self.store.write(action, (folder / DIGESTS_NAME).read_bytes()):
            self._damaged.discard(action)


def shared_cache(root: Path, complain: Callable[[str], None]) -> SharedCache | None:
    """Returns the shared cache that `EDGEKIT_SHARED_CACHE` names, None where it names none. Asks nobody yet.

    Args:
        root: Folder of the local cache.
        complain: Called with a sentence when it fails.

    Raises:
        ConfigError: the URL, or `EDGEKIT_SHARED_CACHE_WRITE`, is wrong.
        MissingDependencyError: what the URL's protocol needs is not installed.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return None
    open_url(url)
    written = os.environ.get(WRITE_VARIABLE, "").lower()
    if written not in _TRUE + _FALSE:
        raise ConfigError(f'{WRITE_VARIABLE}="{written}"; expected 1 to write to the shared cache, 0 to read only.')
    store = RemoteStore(url=url, pause_file=root / _PAUSE_NAME, complain=complain)
    return SharedCache(store=store, writes=written in _TRUE)


def _readable(listed: bytes) -> Mapping[str, tuple[int, str]] | None:
    """Returns the files of an action; None where it is damaged, or would write outside of the entry."""
    files = parse_digests(listed)
    if files is None:
        return None
    for name, (size, digest) in files.items():
        parts = PurePosixPath(name).parts
        plain = parts and name == "/".join(parts) and not name.startswith("/") and ".." not in parts
        if not plain or "\\" in name or size < 0 or len(digest) != len(hashlib.sha256().hexdigest()):
            return None
        if not set(digest) <= set("0123456789abcdef"):
            return None
    return files


def _action(kind: str, key: str) -> str:
    scope = _machine(computes=kind in _COMPUTED_KINDS)
    return f"actions/{scope}/{kind}/{key}.json"


def _blob(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


@cache
def _machine(*, computes: bool) -> str:
    """Returns a name for all machines that give the same bytes."""
    named = f"{sys.platform}-{platform.machine()}-py{sys.version_info.major}.{sys.version_info.minor}"
    if not computes:
        return named
    return f"{named}-{hashlib.sha256(json.dumps(processor_features()).encode()).hexdigest()[:12]}"


def processor_features() -> list[str]:
    """Returns the processor's vendor and instruction sets, by which libraries choose their kernels."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [platform.processor()]
    first: dict[str, Any] = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        first[name.strip()] = value.strip()
    kept = ("vendor_id", "cpu family", "CPU implementer", "CPU architecture", "CPU part")
    flags = str(first.get("flags") or first.get("Features") or "").split()
    sets = ("avx", "fma", "sse", "ssse", "amx", "f16c", "bmi", "asimd", "neon", "sve", "i8mm", "bf16", "fphp", "sme")
    return [*(str(first[name]) for name in kept if name in first), *sorted(f for f in flags if f.startswith(sets))]


@contextmanager
def shared_cache_named(url: str | None, *, writes: bool) -> Generator[None, None, None]:
    """Names a shared cache where worker processes find it too: in the environment, as long as the block runs.

    Args:
        url: Where it lies; None leaves what the environment names.
        writes: What is made here goes there.

    Raises:
        UsageError: to write, and nothing names a cache.
    """
    if writes and not (url or os.environ.get(URL_VARIABLE)):
        raise UsageError(f"--cache-write names no cache. Give --cache URL, or set {URL_VARIABLE}.")
    given = {URL_VARIABLE: url, WRITE_VARIABLE: "1" if writes else None}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
