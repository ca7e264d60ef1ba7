"""Made-up data: stripes whose direction and colour are the class, rows of numbers, sequences, token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

CLASSES = 10


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, 3, 32, 32) float32 and the classes (N,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    y, x = np.mgrid[:32, :32] / 32
    angle = np.pi * labels / CLASSES
    phase = 2 * np.pi * random.random(count)
    waves = np.sin(
        2 * np.pi * 4 * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y) + phase[:, None, None]
    )
    colour = np.stack([np.cos(angle), np.sin(angle), np.ones(count)], 1)
    found = waves[:, None] * colour[:, :, None, None] + 0.6 * random.standard_normal((count, 3, 32, 32))
    return found.astype(np.float32), labels


def tables(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, 32) float32: numbers of very different size."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, 32)) * np.geomspace(0.2, 3, 32)).astype(np.float32), np.zeros(count, int)


def sequences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, 16, 12) float32: sums over time of noise."""
    random = np.random.default_rng(seed)
    return (0.4 * random.standard_normal((count, 16, 12)).cumsum(1)).astype(np.float32), np.zeros(count, int)


def tokens(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, 12) int64."""
    return np.random.default_rng(seed).integers(0, 40, (count, 12)), np.zeros(count, int)


KINDS = {"image": images, "table": tables, "sequence": sequences, "token": tokens}


def calibration(kind: str) -> Iterator[tuple[Any, ...]]:
    for row in KINDS[kind](64, 1)[0]:
        yield (row[None],)


def evaluation(kind: str) -> Iterator[tuple[Any, ...]]:
    for row, label in zip(*KINDS[kind](96, 2), strict=True):
        yield (row[None],), int(label)
