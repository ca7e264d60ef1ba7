"""Files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.artifact import artifact_files, remove_artifact


def write_text(path: Path, text: str) -> None:
    """Writes a text file, UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with _appearing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON file for people to read as well. NaN and infinity are errors: JSON has neither.

    Raises:
        OSError: it cannot be written.
        ValueError: a number is not finite.
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def copy_atomically(source: Path, target: Path) -> None:
    """Copies an artifact to `target`, in the place of what is there: a file with its external data, or a folder.

    External data keeps its name, which the file holds, so it goes beside `target` under that name.

    Raises:
        OSError: it cannot be written.
        ArtifactError: external data is missing.
    """
    for name, file in artifact_files(source) if source.is_file() else ():
        if name:
            (target.parent / name).parent.mkdir(parents=True, exist_ok=True)
            copy_atomically(file, target.parent / name)
    with _appearing(target) as partial:
        if source.is_dir():
            shutil.copytree(source, partial)
            remove_artifact(target)  # a folder is not replaced by renaming
        else:
            shutil.copyfile(source, partial)


@contextmanager
def _appearing(path: Path) -> Generator[Path, None, None]:
    """Yields where to write; what is there afterwards takes its place at `path`, unless writing failed."""
    partial = path.with_name(f".partial-{path.name}")
    try:
        remove_artifact(partial)
        yield partial
        partial.replace(path)
    finally:
        remove_artifact(partial)
