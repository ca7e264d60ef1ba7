"""What pictures' files end in, and which of them a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def pictures_in(folder: Path) -> list[Path]:
    """Returns the pictures in a folder and its folders, in the order of their names; none where it is no folder."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
