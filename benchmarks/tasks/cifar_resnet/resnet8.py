"""MLPerf Tiny's ResNet-8 as a torch module, with the weights of its Keras file.

Inputs are (N, 3, 32, 32) float32, raw pixels 0 to 255; outputs are ten scores, before the softmax.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

EPSILON = 1e-3
"""Epsilon of Keras's batch norms."""


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Module:
    """Returns a convolution with Keras's `same` padding, which is on one side only where the stride is 2."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=1 if size == 3 and stride == 1 else 0)
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer) if size == 3 and stride == 2 else layer


class Stage(nn.Module):
    """Two 3 x 3 convolutions around which the input is added; a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs, EPSILON)
        self.second, self.second_norm = convolution(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs, EPSILON)
        self.short: nn.Module = convolution(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, image: Any) -> Any:
        inner = functional.relu(self.first_norm(self.first(image)))
        return functional.relu(self.second_norm(self.second(inner)) + self.short(image))


class ResNet8(nn.Module):
    """A stem and three stages of 16, 32 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = convolution(3, 16, 3, 1), nn.BatchNorm2d(16, EPSILON)
        self.stages = nn.Sequential(Stage(16, 16, 1), Stage(16, 32, 2), Stage(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, image: Any) -> Any:
        return self.head(self.stages(functional.relu(self.norm(self.stem(image)))).mean((2, 3)))


def build() -> nn.Module:
    """Returns the trained network. Keras's layers have the order of the module's own."""
    import h5py

    net = ResNet8()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with h5py.File(shared("models/mlperf_tiny/pretrainedResnet.h5")) as file, torch.no_grad():

        def read(layer: str, name: str) -> Any:
            return torch.from_numpy(np.array(file["model_weights"][layer][layer][f"{name}:0"]))

        for index, module in enumerate(convolutions):
            layer = f"conv2d_{index}" if index else "conv2d"
            module.weight.copy_(read(layer, "kernel").permute(3, 2, 0, 1))
            module.bias.copy_(read(layer, "bias"))
        for index, norm in enumerate(norms):
            layer = f"batch_normalization_{index}" if index else "batch_normalization"
            norm.weight.copy_(read(layer, "gamma"))
            norm.bias.copy_(read(layer, "beta"))
            norm.running_mean.copy_(read(layer, "moving_mean"))
            norm.running_var.copy_(read(layer, "moving_variance"))
        net.head.weight.copy_(read("dense", "kernel").T)
        net.head.bias.copy_(read("dense", "bias"))
    return net.eval()
