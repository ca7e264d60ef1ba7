"""The folder of a sweep: what tells that one lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SWEEP_NAME: Final = "sweep.json"
"""The file that says what a sweep's folder is about."""

SWEEP_BASELINE_NAME: Final = "edgekit-sweep-baseline.json"
"""Where a baseline of a sweep is written to, and looked for, where nobody names a file."""


def is_sweep_folder(folder: Path) -> bool:
    """Returns whether a sweep was written into a folder."""
    return (folder / SWEEP_NAME).is_file()
