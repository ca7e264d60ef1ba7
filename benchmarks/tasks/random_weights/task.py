"""Architectures of which no trained weights are at hand, for cost only: random weights say nothing of accuracy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "latency_fidelity")]
from shared_data import imagenet
from zoo import builders, declare_torchvision_operators


def _build(name: str) -> Any:
    declare_torchvision_operators()
    torch.manual_seed(0)
    return builders()[name][0]().eval()


def mobilenet_v2() -> Any:
    return _build("mobilenet_v2_1_224")


def mobilenet_v3_large() -> Any:
    return _build("mobilenet_v3_large")


def resnet18() -> Any:
    return _build("resnet18")


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.zeros(1, 3, 224, 224),)


def calibration() -> Iterator[tuple[Any, ...]]:
    for image, _, _ in imagenet("calibration"):
        yield (torch.from_numpy(image.copy()),)


def evaluation() -> Iterator[tuple[Any, ...]]:
    """Yields a few judging photographs, so that the artifact is run and its memory measured."""
    for number, (image, _, _) in enumerate(imagenet("judging")):
        if number == 40:
            return
        yield (torch.from_numpy(image.copy()),)
