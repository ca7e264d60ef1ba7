"""Scratch folders beside the cache, so that moving a finished entry into it is a rename."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from edgekit.pipeline.settings import Settings


@contextmanager
def scratch_folder(settings: Settings) -> Generator[Path, None, None]:
    """Yields an empty folder beside the cache (so that moving into it is a rename), removed afterwards."""
    root = settings.cache.root / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_contents(source: Path, target: Path) -> None:
    """Moves everything that lies in one folder into another on the same disk."""
    for item in source.iterdir():
        item.rename(target / item.name)
