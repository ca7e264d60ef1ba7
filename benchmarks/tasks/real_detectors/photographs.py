"""Photographs for the pedestrian detector; nobody labels them: the float model says where people are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

DATA: Final = Path(os.environ["EDGEKIT_SHARED"]) / "data" / "imagenet500"
SIDE: Final = 300
EVERY: Final = 5
"""One photograph of so many calibrates."""
JUDGED: Final = 300


def _rows(files: Iterable[Path]) -> Iterator[tuple[Any, ...]]:
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        yield ((pixels / 127.5 - 1).astype(np.float32)[None],)


def pedestrian_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields 100 photographs."""
    return _rows(sorted(DATA.glob("*.jpg"))[::EVERY])


def pedestrian_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields others."""
    others = [file for number, file in enumerate(sorted(DATA.glob("*.jpg"))) if number % EVERY]
    return ((row, None) for row in _rows(others[:JUDGED]))
