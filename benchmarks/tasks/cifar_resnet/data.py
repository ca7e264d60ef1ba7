"""CIFAR-10 as JPEG copies: 23,500 images to train on, 1,500 held out of training, 5,000 to judge by."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

BATCH = 128
HELD_OUT = 1500


@cache
def images(part: str) -> tuple[Any, Any]:
    """Returns ((N, 3, 32, 32) float32, (N,) int64) of `train` or `dev`."""
    with np.load(shared(f"data/cifar10/{part}.npz")) as data:
        pixels = torch.from_numpy((data["images"].astype(np.float32) - 120) / 64).permute(0, 3, 1, 2).contiguous()
        return pixels, torch.from_numpy(data["labels"].astype(np.int64))


def resized(pixels: Any, size: int) -> Any:
    """Returns images of `size` pixels a side, each the mean of the area that it covers."""
    return pixels if size == pixels.shape[-1] else functional.interpolate(pixels, size=size, mode="area")


class Epoch:
    """The training images in a random order, shifted by up to 4 pixels and mirrored; `size` pixels wide."""

    def __init__(self, size: int = 32) -> None:
        self.size = size
        self.count = len(images("train")[0]) - HELD_OUT

    def __len__(self) -> int:
        return self.count // BATCH

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        pixels, labels = images("train")
        order = torch.randperm(self.count)
        for step in range(len(self)):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            batch = functional.pad(pixels[chosen], (4, 4, 4, 4))
            down, right = (int(shift) for shift in torch.randint(0, 9, (2,)))
            batch = batch[:, :, down : down + 32, right : right + 32]
            mirrored = torch.rand(len(batch)) < 0.5
            batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
            yield (resized(batch, self.size),), labels[chosen]


def batches(epoch: int, size: int = 32) -> Epoch:  # noqa: ARG001  every epoch is drawn alike
    """Returns the batches of an epoch."""
    return Epoch(size)


def held_out(size: int = 32) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields training images that are never trained on."""
    pixels, labels = images("train")
    for start in range(len(pixels) - HELD_OUT, len(pixels), 250):
        yield (resized(pixels[start : start + 250], size),), labels[start : start + 250]


def loss(output: Any, target: Any) -> Any:
    """Returns the mean cross entropy."""
    return functional.cross_entropy(output, target)


def calibration(size: int = 32, count: int = 200) -> Iterator[tuple[Any, ...]]:
    """Yields some training images."""
    pixels = images("train")[0][:-HELD_OUT]
    for image in pixels[:: len(pixels) // count][:count]:
        yield (resized(image[None], size).numpy(),)


def evaluation(size: int = 32) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields the 5,000 judging images in batches."""
    pixels, labels = images("dev")
    for start in range(0, len(pixels), 100):
        yield (resized(pixels[start : start + 100], size).numpy(),), labels[start : start + 100].numpy()


def raw(image: Any) -> Any:
    """Returns pixels 0 to 255 of a prepared image."""
    return image * 64 + 120


class RawEpoch:
    """A third of an epoch of raw pixels, drawn anew each time: enough for a network that is trained already."""

    def __len__(self) -> int:
        return len(Epoch()) // 3

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        for (image,), label in islice(Epoch(), len(self)):
            yield (raw(image),), label


def raw_batches(epoch: int) -> RawEpoch:  # noqa: ARG001  every epoch is drawn alike
    """Returns the batches of an epoch, as raw pixels."""
    return RawEpoch()


def raw_held_out() -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields what `held_out` does, as raw pixels."""
    for (image,), label in held_out():
        yield (raw(image),), label


def raw_calibration(count: int = 200) -> Iterator[tuple[Any, ...]]:
    """Yields what `calibration` does, as raw pixels."""
    for (image,) in calibration(count=count):
        yield (raw(image),)


def raw_evaluation() -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields what `evaluation` does, as raw pixels."""
    for (image,), label in evaluation():
        yield (raw(image),), label
