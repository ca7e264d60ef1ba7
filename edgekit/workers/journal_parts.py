"""Parts of a long piece of work, one file each in a journal's folder: found again after a kill, and only if undamaged.

A part is a JSON object with a frozen dataclass and the digest of its text, because a disk or a hand may have changed it
since: a figure that is wrong and of the right form would go into a plan unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from edgekit.errors import EdgekitError, ResourceError
from edgekit.files.bounded_reading import read_text
from edgekit.workers.atomic_files import write_text
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import Progress

T = TypeVar("T")


def write_part(journal: Path, name: str, value: object) -> None:
    """Saves a frozen dataclass under a name, completely or not at all."""
    data = unstructure(value)
    write_text(journal / f"{name}.json", json.dumps({"sha256": _digest(data), "value": data}))


def read_part(journal: Path, name: str, kind: type[T], progress: Progress) -> T | None:
    """Returns what was saved under a name, or None where nothing was; a damaged part is said, removed, and None.

    Args:
        journal: The folder.
        name: The part's.
        kind: Its dataclass.
        progress: Is told of damage.

    Raises:
        ResourceError: the part cannot be read or removed.
    """
    path = journal / f"{name}.json"
    try:
        # Figures that are not numbers are written and read as they are: what measures them says what they mean.
        found: Any = json.loads(read_text(path, ResourceError))
        if not isinstance(found, dict) or found.get("sha256") != _digest(found["value"]):
            raise ResourceError("another digest")
        return structure(found["value"], kind, f"file {path}")
    except FileNotFoundError:
        return None
    except (EdgekitError, KeyError, ValueError, RecursionError):
        _remove(path)
        progress(f"{path.name} of an earlier run is damaged: it is made anew", None)
        return None


def read_parts(journal: Path, prefix: str, kind: type[T], progress: Progress) -> Iterator[T]:
    """Yields what was saved under names that begin with `prefix`, in the order of the names; damaged ones as above."""
    for path in sorted(journal.glob(f"{prefix}*.json")):
        found = read_part(journal, path.stem, kind, progress)
        if found is not None:
            yield found


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{path} is damaged and cannot be removed: {error.strerror}. Remove it, or clear the cache: "
            "edgekit cache clear"
        ) from error
