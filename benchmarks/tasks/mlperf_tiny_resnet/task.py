"""MLPerf Tiny's ResNet-8 (Keras) on CIFAR-10: raw pixels 0 to 255 in, ten probabilities out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

MODEL = shared("models/mlperf_tiny/pretrainedResnet.h5")


def calibration() -> Iterator[tuple[Any, ...]]:
    """Yields 200 training images; the judging set is another file."""
    with np.load(shared("data/cifar10/train.npz")) as data:
        images = data["images"][:: len(data["images"]) // 200][:200]
    for image in images:
        yield (image[None].astype(np.float32),)


def evaluation() -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields the 5,000 judging images in batches."""
    with np.load(shared("data/cifar10/dev.npz")) as data:
        images, labels = data["images"], data["labels"]
    for start in range(0, len(images), 100):
        yield (images[start : start + 100].astype(np.float32),), labels[start : start + 100].astype(np.int64)
