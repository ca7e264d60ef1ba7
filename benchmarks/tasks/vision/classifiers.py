"""Small classifiers of CIFAR-10 in the manner of networks for phones; ten scores, inputs (1, 3, 32, 32), -1 to 1.

mobilenet_v3  inverted residuals with hard swish and squeeze-and-excite (Howard et al. 2019)
mobilenet_v4  universal inverted bottlenecks, with a depthwise convolution before the widening too (Qin et al. 2024)
efficientnet  inverted residuals with SiLU and squeeze-and-excite (Tan and Le 2019)
vit           a small vision transformer, patches of four pixels (Dosovitskiy et al. 2021)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from backbone import InvertedResidual, SqueezeExcite, block
from torch import Tensor, nn
from torch.nn import functional
from training import fit, restored

sys.path.insert(0, str(Path(__file__).parents[1]))
from shared_data import shared

BATCH = 64
CALIBRATION: Final = 200
STEPS: Final = {"mobilenet_v3": 1000, "mobilenet_v4": 1000, "efficientnet": 1000, "vit": 1500}
RATE: Final = {"vit": 1e-3}


def _mobilenet_v3() -> nn.Module:
    def residual(before: int, after: int, stride: int, *, size: int = 3, excites: bool = True) -> nn.Module:
        gate = SqueezeExcite(4 * before, nn.Hardsigmoid) if excites else None
        return InvertedResidual(before, after, stride, 4, size=size, activation=nn.Hardswish, excite=gate)

    return nn.Sequential(
        block(3, 16, 3, activation=nn.Hardswish),
        residual(16, 24, 2, excites=False), residual(24, 24, 1, excites=False),
        residual(24, 40, 2, size=5), residual(40, 40, 1, size=5),
        residual(40, 80, 2), residual(80, 80, 1),
        block(80, 320, activation=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, 10),
    )  # fmt: skip


class _Universal(nn.Module):
    """A depthwise convolution, widening, another one, narrowing."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and before == after
        self.layers = nn.Sequential(
            block(before, before, 3, 1, before, None), block(before, 4 * before, activation=nn.ReLU),
            block(4 * before, 4 * before, 3, stride, 4 * before, nn.ReLU), block(4 * before, after, activation=None),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        found = self.layers(image)
        return image + found if self.adds else found


def _mobilenet_v4() -> nn.Module:
    return nn.Sequential(
        block(3, 24, 3, activation=nn.ReLU),
        block(24, 48, 3, 2, activation=nn.ReLU), block(48, 32, activation=nn.ReLU),
        _Universal(32, 48, 2), _Universal(48, 48, 1), _Universal(48, 80, 2), _Universal(80, 80, 1),
        block(80, 320, activation=nn.ReLU),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, 10),
    )  # fmt: skip


def _efficientnet() -> nn.Module:
    def residual(before: int, after: int, stride: int, expansion: int = 4, size: int = 3) -> nn.Module:
        gate = SqueezeExcite(expansion * before, activation=nn.SiLU)
        return InvertedResidual(before, after, stride, expansion, size=size, activation=nn.SiLU, excite=gate)

    return nn.Sequential(
        block(3, 24, 3, activation=nn.SiLU),
        residual(24, 16, 1, 1), residual(16, 24, 2), residual(24, 24, 1),
        residual(24, 40, 2, size=5), residual(40, 40, 1, size=5),
        residual(40, 80, 2), residual(80, 80, 1),
        block(80, 320, activation=nn.SiLU),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(320, 10),
    )  # fmt: skip


class _Attention(nn.Module):
    """Self-attention and two linear layers, each behind a layer norm and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        size, count, width = tokens.shape
        joint = self.joint(self.first(tokens)).reshape(size, count, 3, self.heads, width // self.heads)
        queries, keys, values = joint.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(queries, keys, values)
        tokens = tokens + self.out(found.transpose(1, 2).reshape(size, count, width))
        return tokens + self.inner(self.second(tokens))


class _Transformer(nn.Module):
    def __init__(self, width: int = 96, depth: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.blocks = nn.Sequential(*[_Attention(width, heads) for _ in range(depth)])
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.places
        return self.last(self.norm(self.blocks(tokens)).mean(1))


_NETS: Final[dict[str, Callable[[], nn.Module]]] = {
    "mobilenet_v3": _mobilenet_v3,
    "mobilenet_v4": _mobilenet_v4,
    "efficientnet": _efficientnet,
    "vit": _Transformer,
}


@cache
def _images(part: str) -> tuple[Tensor, Tensor]:
    """Returns ((N, 3, 32, 32) float32, (N,) int64) of `train` or `dev`."""
    with np.load(shared(f"data/cifar10/{part}.npz")) as data:
        pixels = torch.from_numpy((data["images"].astype(np.float32) - 127.5) / 127.5).permute(0, 3, 1, 2)
        return pixels.contiguous(), torch.from_numpy(data["labels"].astype(np.int64))


def _batch(step: int) -> tuple[Tensor, Tensor]:
    """Returns training pictures, shifted by up to 4 pixels and mirrored by chance; none of them calibrates."""
    images, labels = _images("train")
    random = torch.Generator().manual_seed(step)
    chosen = torch.randint(CALIBRATION, len(images), (BATCH,), generator=random)
    padded = functional.pad(images[chosen], (4, 4, 4, 4))
    down, right = (int(shift) for shift in torch.randint(0, 9, (2,), generator=random))
    pictures = padded[:, :, down : down + 32, right : right + 32]
    mirrored = torch.rand(BATCH, generator=random) < 0.5
    return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures), labels[chosen]


def train(name: str) -> Iterator[str]:
    """Returns the training of a classifier, which says how it goes."""
    torch.manual_seed(0)
    model = _NETS[name]()

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        scores = model(images.contiguous(memory_format=torch.channels_last))
        return functional.cross_entropy(scores, labels, label_smoothing=0.05)

    return fit(name, model, _batch, loss, steps=STEPS[name], rate=RATE.get(name, 4e-3))


def _build(name: str) -> nn.Module:
    return restored(name, _NETS[name]())


mobilenet_v3, mobilenet_v4, efficientnet, vit = (partial(_build, name) for name in _NETS)


def example_inputs() -> tuple[Tensor, ...]:
    """Returns one picture."""
    return (torch.zeros(1, 3, 32, 32),)


def calibration() -> Iterator[tuple[Any, ...]]:
    """Yields pictures that were not trained on."""
    for image in _images("train")[0][:CALIBRATION]:
        yield (image[None].numpy(),)


def judged() -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields the 5,000 judging pictures."""
    for image, label in zip(*_images("dev"), strict=True):
        yield (image[None].numpy(),), label[None].numpy()
