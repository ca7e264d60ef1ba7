"""Ten small networks with their data: the models of `sweep_matrix.py`. Weights and data are drawn with fixed seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE = (3, 32, 32)
CLASSES = 10


def conv(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    return nn.Sequential(*layers)


def head(width: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class Squeeze(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        parts = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), nn.Sigmoid()
        self.gate = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Mixer(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(tokens, tokens), nn.ReLU(), nn.Linear(tokens, tokens))
        self.channels = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return x + self.channels(x)


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, inputs, stride, groups=inputs), nn.Conv2d(inputs, outputs, 1), nn.ReLU())


def layers_of(kind: str, width: int) -> list[nn.Module]:
    if kind == "mlp":
        return [nn.Flatten(), nn.Linear(3072, width), nn.ReLU(), nn.Linear(width, CLASSES)]
    if kind == "mixer":
        return [
            nn.Conv2d(3, width, 8, 8), nn.Flatten(2), Mixer(width, 16), Mixer(width, 16), nn.Flatten(),
            nn.Linear(16 * width, CLASSES),
        ]  # fmt: skip
    if kind == "signal":
        return [
            nn.Flatten(2), nn.Conv1d(3, width, 9, 4, 4), nn.ReLU(), nn.Conv1d(width, width, 9, 4, 4), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, CLASSES),
        ]  # fmt: skip
    stem = conv(3, width, 2)
    if kind == "separable":
        return [stem, separable(width, 2 * width, 2), separable(2 * width, 2 * width, 1), *head(2 * width)]
    if kind == "residual":
        return [stem, Residual(width), Residual(width), *head(width)]
    if kind == "squeeze":
        return [stem, Squeeze(width), conv(width, width, 2), Squeeze(width), *head(width)]
    return [stem, conv(width, 2 * width, 2), *head(2 * width)]


def build(kind: str = "plain", width: int = 8) -> nn.Module:
    torch.manual_seed(len(kind) + width)
    return nn.Sequential(*layers_of(kind, width)).eval()


def example_inputs() -> tuple[Tensor, ...]:
    return (torch.zeros(1, *SHAPE),)


def calibration() -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, *SHAPE, generator=generator),) for _ in range(4)]


def evaluation() -> list[tuple[tuple[Tensor, ...], Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [((torch.randn(8, *SHAPE, generator=generator),), torch.zeros(8, dtype=torch.int64)) for _ in range(4)]
