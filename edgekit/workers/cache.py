"""A cache of finished work by content: folders named by a hash of everything that they depend on.

An entry is made in a temporary folder beside its final place and renamed when it is complete, so an entry that exists
is whole, and work that was interrupted is simply missing. That is also how a killed run resumes: what was done is
found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

from edgekit.errors import ResourceError


def cache_folder() -> Path:
    """Returns where the cache lies: `EDGEKIT_CACHE_DIR`, else the platform's cache folder. Creates nothing."""
    if configured := os.environ.get("EDGEKIT_CACHE_DIR"):
        return Path(configured).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgekit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"


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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Entries under one root folder.

    Attributes:
        root: Where entries lie; made when the first one is.
        reuse: False makes every entry anew (`--no-cache`) and replaces the one that was there.
    """

    root: Path
    reuse: bool = True

    def find(self, kind: str, key: str) -> Path | None:
        """Returns the folder of a finished entry, or None."""
        folder = self.root / kind / key
        return folder if self.reuse and folder.is_dir() else None

    def make(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """Returns the folder of the entry, made by `build(folder)` if it is not there yet.

        Raises:
            ResourceError: the cache folder cannot be written.
            Exception: whatever `build` raises; then nothing is left behind.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        final_folder = self.root / kind / key
        try:
            final_folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=final_folder.parent))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            build(partial)
            if final_folder.exists():
                shutil.rmtree(final_folder)
            partial.rename(final_folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return final_folder

    def journal(self, kind: str, key: str) -> Path:
        """Returns a folder for the parts of a long piece of work, each of which its maker writes whole or not at all.

        Unlike an entry it is there while it is unfinished, so that what was done before a kill is found again.

        Raises:
            ResourceError: the cache folder cannot be written.
        """
        folder = self.root / kind / key
        try:
            if not self.reuse:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return folder

    def _unwritable(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"The cache folder {self.root} cannot be written: {error.strerror}. "
            "Free it, or name another one with EDGEKIT_CACHE_DIR."
        )

    def size_bytes(self) -> int:
        """Returns the sum of all files in the cache."""
        return sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())
