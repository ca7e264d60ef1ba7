"""EfficientNet-Lite0 on 500 ImageNet photographs: 100 calibrate, the other 400 judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import imagenet

from edgekit.task.default_model import build, example_inputs

__all__ = ["build", "calibration", "evaluation", "example_inputs"]


def calibration() -> Iterator[tuple[Any, ...]]:
    for image, _, _ in imagenet("calibration"):
        yield (torch.from_numpy(image.copy()),)


def evaluation() -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    for image, label, _ in imagenet("judging"):
        yield (torch.from_numpy(image.copy()),), [label]
