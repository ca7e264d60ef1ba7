"""Deflated sizes of artifacts, kept in the cache by the SHA-256 of their bytes: deflating is what a gate waits for."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgekit.artifact import hash_files, measure_files
from edgekit.errors import ResourceError
from edgekit.workers.atomic_files import write_json
from edgekit.workers.cache import Cache, content_key

_KIND: Final = "download"
_FILE: Final = "download.json"


def measure_with_cache(path: Path, cache: Cache | None) -> tuple[int, int, str]:
    """Returns what `edgekit.artifact.measure_files` does; bytes that were deflated before are only hashed.

    A kept size belongs to the bytes that have this hash now, so a file that has changed is deflated anew. A cache that
    cannot be used costs time and nothing else; None stands for no cache.

    Raises:
        ArtifactError: a part is missing, or lies outside the artifact's folder.
    """
    if cache is None:
        return measure_files(path)
    size, digest = hash_files(path)
    try:
        found = cache.find(_KIND, _key(digest))
        if found is not None:
            return size, int(json.loads((found / _FILE).read_text())["bytes"]), digest
    except ResourceError:
        return measure_files(path)
    # One pass gives hash and size of the same bytes, whatever else writes to the file meanwhile.
    size, download, digest = measure_files(path)
    with suppress(ResourceError):  # whoever cannot do without the cache says so
        cache.make(_KIND, _key(digest), lambda folder: write_json(folder / _FILE, {"bytes": download}))
    return size, download, digest


def _key(digest: str) -> str:
    """Returns the key of an artifact's bytes, deflated by this zlib: others may pack a little better."""
    return content_key({"sha256": digest, "zlib": zlib.ZLIB_RUNTIME_VERSION})
