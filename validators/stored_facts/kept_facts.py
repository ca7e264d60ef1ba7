"""What files say, kept in the cache by the SHA-256 of their bytes: a reader and its libraries take their time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgekit.errors import ResourceError
from edgekit.formats.table import known_format
from edgekit.validators.stored_facts.facts import StoredFacts, read_stored_facts
from edgekit.workers.cache import Cache, content_key, versions
from edgekit.workers.code_digest import plugin_digest
from edgekit.workers.structure import read_value, write_value

_KIND: Final = "stored-facts"
_FILE: Final = "facts.json"


def read_with_cache(runtime: str, path: Path, sha256: str, cache: Cache | None) -> StoredFacts | None:
    """Returns what `read_stored_facts` does; a file whose bytes were read before is not opened.

    Args:
        runtime: Its format.
        path: The file.
        sha256: Of the bytes that it has now (see `edgekit.artifact.hash_files`).
        cache: Where facts are kept; None for nowhere. One that cannot be used costs time and nothing else.
    """
    made = known_format(runtime)
    if cache is None or made is None or not made.facts_reader:
        return read_stored_facts(runtime, path)
    key = content_key({
        "sha256": sha256,
        "reader": plugin_digest("edgekit.formats", runtime, made.facts_reader),
        "tools": versions(tuple(made.needs.values())),
    })  # fmt: skip
    try:
        found = cache.find(_KIND, key)
        if found is not None:
            return read_value(found / _FILE, StoredFacts)
        facts = read_stored_facts(runtime, path)
        if facts is not None:
            cache.make(_KIND, key, lambda folder: write_value(folder / _FILE, facts))
    except ResourceError:
        return read_stored_facts(runtime, path)
    return facts
