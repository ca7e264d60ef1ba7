"""A small segmenter of drawn scenes: scores (1, 64, 64, 1 + classes), the photograph first; much like LR-ASPP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from backbone import WIDTHS, Backbone, block
from scenes import CLASSES, SIDE, Scene, calibration, judged_masks, learned
from torch import Tensor, nn
from torch.nn import functional
from training import fit, restored

__all__ = ["calibration", "example_inputs", "judged_masks", "segmenter"]

WIDTH = 48
BATCH = 16
STEPS = 700


class Segmenter(nn.Module):
    """The coarsest features, enlarged and joined with finer ones level by level (Howard et al. 2019, section 6.4)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(nn.Hardswish)
        self.sides = nn.ModuleList([block(width, WIDTH, activation=None) for width in (24, *WIDTHS)])
        self.mixed = nn.Sequential(block(WIDTH, WIDTH, 3, 1, WIDTH, nn.Hardswish), block(WIDTH, WIDTH))
        self.last = nn.Conv2d(WIDTH, 1 + len(CLASSES), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Returns scores of the photograph and of each class, channels last, at half of the picture's size."""
        levels = [side(level) for side, level in zip(self.sides, self.backbone(image), strict=True)]
        found = levels[-1]
        for level in levels[-2::-1]:
            found = level + functional.interpolate(found, scale_factor=2.0, mode="bilinear")
        large = functional.interpolate(self.last(self.mixed(found)), scale_factor=2.0, mode="bilinear")
        return large.permute(0, 2, 3, 1)


def _loss(model: Segmenter, scenes: list[Scene]) -> Tensor:
    images = torch.from_numpy(np.stack([scene.values for scene in scenes]))
    # The pixel that `miou` reads for each of the output's.
    masks = torch.from_numpy(np.stack([scene.mask[1::2, 1::2] for scene in scenes]).astype(np.int64))
    scores = model(images.contiguous(memory_format=torch.channels_last))
    return functional.cross_entropy(scores.permute(0, 3, 1, 2), masks)


def train(name: str) -> Any:
    """Returns the training of the segmenter, which says how it goes."""
    torch.manual_seed(0)
    model = Segmenter()
    return fit(
        name, model, lambda step: learned(step, BATCH), lambda scenes: _loss(model, scenes), steps=STEPS, rate=4e-3
    )


def segmenter() -> nn.Module:
    """Returns the trained segmenter."""
    return restored("segmenter", Segmenter())


def example_inputs() -> tuple[Tensor, ...]:
    """Returns one picture."""
    return (torch.zeros(1, 3, SIDE, SIDE),)
