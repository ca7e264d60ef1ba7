"""Drawn pictures with exact labels: CIFAR-10 objects, cut out and laid over photographs.

A scene is a crop of a photograph of `data/imagenet500`, 128 x 128, with one to four objects on it: pictures of
`data/cifar10`, enlarged to 26 to 64 pixels a side, cut out as an ellipse, a rounded rectangle or a diamond, mirrored at
random. Later objects hide earlier ones, 40 % of one at a time at most. Boxes are the extent of what is seen, masks what
is seen. Three classes: road vehicles, craft (aeroplanes and ships) and animals.

The judged scenes share no photograph and no object with those that are trained on or calibrated with: photographs whose
place in the order of names is a multiple of five, and CIFAR's `dev` part.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

SIDE: Final = 128
CLASSES: Final = ("road vehicle", "craft", "animal")
MEAN = STD = 127.5
JUDGED: Final = 2000
CALIBRATION: Final = 100
_GROUPS: Final = np.array([1, 0, 2, 2, 2, 2, 2, 2, 1, 0])
"""The class of a scene for each of CIFAR-10's classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8, red first.
        boxes: (objects, 5) float32: x1, y1, x2, y2 in pixels, class.
        mask: (SIDE, SIDE) uint8: 0 is the photograph, else 1 + class.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    mask: NDArray[np.uint8]

    @property
    def values(self) -> NDArray[np.float32]:
        """What a network takes, (3, SIDE, SIDE), -1 to 1."""
        return np.ascontiguousarray(((self.pixels.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))


@cache
def _photographs(part: str) -> list[NDArray[np.uint8]]:
    paths = sorted(shared("data/imagenet500").glob("*.jpg"))
    return [
        np.asarray(Image.open(path).convert("RGB"))
        for index, path in enumerate(paths)
        if (index % 5 == 0) == (part == "judged")
    ]


@cache
def _objects(part: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    with np.load(shared(f"data/cifar10/{'dev' if part == 'judged' else 'train'}.npz")) as data:
        return data["images"], _GROUPS[data["labels"]]


def draw(part: str, seed: int) -> Scene:
    """Returns a scene of `part` ("learned" or "judged"); the same seed gives the same one."""
    random = np.random.default_rng([seed, part == "judged"])
    photographs = _photographs(part)
    photograph = photographs[int(random.integers(len(photographs)))]
    side = int(random.integers(SIDE, min(photograph.shape[:2]) + 1)) if min(photograph.shape[:2]) > SIDE else SIDE
    top, left = (int(random.integers(0, max(1, size - side + 1))) for size in photograph.shape[:2])
    crop = Image.fromarray(photograph[top : top + side, left : left + side])
    pixels = np.array(crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    owner = np.full((SIDE, SIDE), -1)
    classes: list[int] = []
    for _ in range(int(random.integers(1, 5))):
        _lay(part, pixels, owner, classes, random)
    boxes = [[*_extent(owner == number), kind] for number, kind in enumerate(classes)]
    mask = np.where(owner < 0, 0, np.array([*classes, 0])[owner] + 1).astype(np.uint8)
    return Scene(pixels=pixels, boxes=np.array(boxes, np.float32).reshape(-1, 5), mask=mask)


def _lay(
    part: str, pixels: NDArray[np.uint8], owner: NDArray[Any], classes: list[int], random: np.random.Generator
) -> None:
    """Lays one object over the picture, where enough of what it hides stays in sight."""
    images, groups = _objects(part)
    # Each class comes as often as the others, though six of CIFAR-10's are animals.
    kind = int(random.integers(len(CLASSES)))
    chosen = int(random.choice(np.flatnonzero(groups == kind)))
    width, height = (int(size) for size in random.integers(26, 65, 2))
    left, top = int(random.integers(0, SIDE - width + 1)), int(random.integers(0, SIDE - height + 1))
    image = images[chosen][:, ::-1] if random.random() < 0.5 else images[chosen]
    large = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BICUBIC))
    across, down = (2 * (np.arange(size) + 0.5) / size - 1 for size in (width, height))
    power = (2.0, 6.0, 1.3)[int(random.integers(3))]
    inside = np.abs(across[None]) ** power + np.abs(down[:, None]) ** power <= 1
    window = (slice(top, top + height), slice(left, left + width))
    hidden = owner[window][inside]
    for number in np.unique(hidden[hidden >= 0]):
        if (hidden == number).sum() > 0.4 * (owner == number).sum():
            return
    pixels[window][inside] = large[inside]
    owner[window][inside] = len(classes)
    classes.append(kind)


def _extent(seen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def calibration() -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Yields scenes that were not trained on, of what was trained on."""
    for seed in range(CALIBRATION):
        yield (draw("learned", seed).values[None],)


def judged_boxes() -> Iterator[tuple[tuple[NDArray[np.float32], ...], NDArray[np.float32]]]:
    """Yields the judged scenes with their boxes."""
    for seed in range(JUDGED):
        scene = draw("judged", seed)
        yield (scene.values[None],), scene.boxes


def judged_masks() -> Iterator[tuple[tuple[NDArray[np.float32], ...], NDArray[np.uint8]]]:
    """Yields the judged scenes with their masks."""
    for seed in range(JUDGED):
        scene = draw("judged", seed)
        yield (scene.values[None],), scene.mask[None]


def learned(seed: int, count: int) -> list[Scene]:
    """Returns scenes to train on, none of which calibrates."""
    return [draw("learned", CALIBRATION + seed * count + index) for index in range(count)]
