"""CIFAR ResNets (He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2), and their weights.

Inputs are (N, 3, 32, 32) float32, pixels divided by 64 after 120 was subtracted; outputs are ten scores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

FOLDER = Path(os.environ.get("EDGEKIT_TRAINED", Path(__file__).parents[3] / "trained"))
"""Where trained weights lie. They are made by `benchmarks/training_compression.py` and never committed."""


class Block(nn.Module):
    """Two 3 x 3 convolutions around which the input is added; a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, image: Any) -> Any:
        inner = functional.relu(self.first_norm(self.first(image)))
        return functional.relu(self.second_norm(self.second(inner)) + self.short(image))


class ResNet(nn.Module):
    """A stem, three stages of `depth` blocks with width, 2 and 4 times width channels, mean, a linear layer."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            for index in range(depth):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if stage and not index else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 10)

    def forward(self, image: Any) -> Any:
        return self.head(self.blocks(functional.relu(self.norm(self.stem(image)))).mean((2, 3)))


def build() -> nn.Module:
    """Returns the trained ResNet-20."""
    net = ResNet()
    net.load_state_dict(torch.load(FOLDER / "resnet20.pt", weights_only=True))
    return net.eval()


def build_student(width: int = 8, depth: int = 1) -> nn.Module:
    """Returns an untrained, smaller one."""
    return ResNet(width, depth).eval()


def example_inputs(size: int = 32) -> tuple[Any, ...]:
    """Returns one image."""
    return (torch.zeros(1, 3, size, size),)
