"""Drawn pages with a title, paragraphs, a photograph with its caption and a table, for detectors of layout and text.

Words are made of random syllables, photographs come from `data/imagenet500`. Nobody labels them: the float model says
what is on a page. The pages that calibrate are not those that judge.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

DATA: Final = Path(os.environ["EDGEKIT_SHARED"]) / "data" / "imagenet500"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CALIBRATION, JUDGED = 40, 100
LAYOUT: Final = (608, 800)
"""Width and height that the layout detector takes."""
TEXT: Final = (480, 480)
SYLLABLES: Final = (
    "ba",
    "de",
    "fi",
    "go",
    "lu",
    "ma",
    "ne",
    "pi",
    "ro",
    "su",
    "ta",
    "ve",
    "wi",
    "xo",
    "an",
    "er",
    "il",
    "on",
    "us",
)


def page(seed: int) -> Image.Image:
    """Returns a page of 760 x 1000 pixels."""
    random = np.random.default_rng(seed)
    made = Image.new("RGB", (760, 1000), tuple(int(value) for value in random.integers(235, 256, 3)))
    draw = ImageDraw.Draw(made)
    down = _text(draw, random, 60, 50, 640, size=int(random.integers(26, 40)), lines=int(random.integers(1, 3)))
    parts = [int(part) for part in random.permutation([0, 0, 1, 2])]
    for part in parts:
        if part == 0:
            down = _text(
                draw, random, 60, down + 24, 640, size=int(random.integers(13, 18)), lines=int(random.integers(4, 9))
            )
        elif part == 1:
            down = _photograph(made, draw, random, down + 24)
        else:
            down = _table(draw, random, down + 24)
    return made


def _words(random: np.random.Generator, count: int) -> str:
    return " ".join("".join(random.choice(SYLLABLES, int(random.integers(1, 5)))) for _ in range(count))


def _text(draw: ImageDraw.ImageDraw, random: np.random.Generator, left: int, top: int, width: int, *,
          size: int, lines: int) -> int:  # fmt: skip
    """Writes lines and returns where they end."""
    font = ImageFont.load_default(size)
    for number in range(lines):
        line = _words(random, 30)
        reach = width if number < lines - 1 else int(width * random.uniform(0.3, 0.9))
        while draw.textlength(line, font) > reach:
            line = line[:-1]
        draw.text((left, top), line, (20, 20, 20), font)
        top += int(1.35 * size)
    return top


def _photograph(page: Image.Image, draw: ImageDraw.ImageDraw, random: np.random.Generator, top: int) -> int:
    files = sorted(DATA.glob("*.jpg"))
    photograph = Image.open(files[int(random.integers(len(files)))]).convert("RGB")
    width, height = (int(size) for size in random.integers(180, 300, 2))
    left = int(random.integers(60, 700 - width))
    page.paste(photograph.resize((width, height)), (left, top))
    return _text(draw, random, left, top + height + 6, width, size=12, lines=1)


def _table(draw: ImageDraw.ImageDraw, random: np.random.Generator, top: int) -> int:
    rows, columns = int(random.integers(3, 7)), int(random.integers(3, 6))
    width, font = 600 // columns, ImageFont.load_default(13)
    for row in range(rows + 1):
        draw.line((80, top + 26 * row, 80 + width * columns, top + 26 * row), (60, 60, 60))
        for column in range(columns * (row < rows)):
            draw.text((86 + width * column, top + 26 * row + 6), _words(random, 1)[:10], (20, 20, 20), font)
    return top + 26 * rows


def _rows(seeds: range, size: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    for seed in seeds:
        pixels = np.asarray(page(seed).resize(size, Image.Resampling.BILINEAR)) / 255
        yield ((pixels - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]


def layout_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields pages for the layout detector."""
    return ((row,) for row in _rows(range(CALIBRATION), LAYOUT))


def layout_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields other pages for it."""
    return (((row,), None) for row in _rows(range(1000, 1000 + JUDGED), LAYOUT))


def text_calibration() -> Iterator[tuple[Any, ...]]:
    """Yields pages for the text detector."""
    return ((row,) for row in _rows(range(CALIBRATION), TEXT))


def text_judged() -> Iterator[tuple[tuple[Any, ...], None]]:
    """Yields other pages for it."""
    return (((row,), None) for row in _rows(range(1000, 1000 + JUDGED), TEXT))
