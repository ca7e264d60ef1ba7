"""The folder of a sweep: what tells that one lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SWEEP_NAME: Final = "sweep.json"
"""The file that says what a sweep's folder is about."""


def is_sweep_folder(folder: Path) -> bool:
    """Returns whether a sweep was written into a folder."""
    return (folder / SWEEP_NAME).is_file()
