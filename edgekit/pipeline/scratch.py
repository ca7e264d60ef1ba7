"""Moving what was made in a scratch folder into an entry of the cache."""

from __future__ import annotations

from pathlib import Path


def move_contents(source: Path, target: Path) -> None:
    """Moves everything that lies in one folder into another on the same disk."""
    for item in source.iterdir():
        item.rename(target / item.name)
