"""Networks of convolutions and attention with random weights, on random data: what INT8 by operator is measured on.

The weights are the initialisers' own, with the statistics of batch norms settled on random data, so that activations
have ranges as in a trained network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

IMAGE = (1, 3, 128, 128)
SOUND = (1, 4000)
MAP = (1, 3, 64, 64)


class _Attention(nn.Module):
    """A transformer block, attention written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        y = self.norm1(x)
        split = (batch, tokens, self.heads, width // self.heads)
        query, key, value = (part(y).reshape(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        scores = torch.softmax(query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5, -1)
        x = x + self.out((scores @ value).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.outer(nn.functional.gelu(self.inner(self.norm2(x))))


class SegmentationNet(nn.Module):
    """Convolutions down, two transformer blocks on the smallest map, transposed convolutions up."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        half = width // 2
        self.stem = nn.Sequential(nn.Conv2d(3, half, 3, 2, 1), nn.BatchNorm2d(half), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(half, width, 3, 2, 1), nn.BatchNorm2d(width), nn.SiLU())
        self.keep = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.SiLU())
        self.blocks = nn.Sequential(_Attention(width, 4), _Attention(width, 4))
        self.up = nn.ConvTranspose2d(width, half, 2, 2)
        self.head = nn.Sequential(nn.Conv2d(width, half, 3, 1, 1), nn.ReLU(), nn.Conv2d(half, 8, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Takes images (N, 3, 64, 64); returns class scores (N, 8, 32, 32)."""
        stem = self.stem(image)
        x = self.down(stem)
        x = x + self.keep(x)
        tokens = self.blocks(x.flatten(2).transpose(1, 2))
        x = tokens.transpose(1, 2).reshape(x.shape)
        return cast("Tensor", self.head(torch.cat((self.up(x), stem), 1)))


def mobilevit() -> nn.Module:
    """Returns MobileViT-XXS (Mehta & Rastegari, 2022) of transformers."""
    from transformers import MobileViTConfig, MobileViTForImageClassification

    torch.manual_seed(0)
    config = MobileViTConfig(
        image_size=IMAGE[-1],
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0,
        num_labels=100,
    )
    return _settled(MobileViTForImageClassification(config), IMAGE)


def wav2vec2() -> nn.Module:
    """Returns a small wav2vec 2.0 (Baevski et al., 2020) of transformers: seven 1-D convolutions, then attention."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        conv_dim=(96,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        attn_implementation="eager",
    )
    return _settled(Wav2Vec2Model(config), SOUND)


def segmentation() -> nn.Module:
    """Returns the network of this file."""
    torch.manual_seed(0)
    return _settled(SegmentationNet(), MAP)


def mobilevit_inputs() -> tuple[Tensor, ...]:
    return (_sample(IMAGE, 0),)


def wav2vec2_inputs() -> tuple[Tensor, ...]:
    return (_sample(SOUND, 0),)


def segmentation_inputs() -> tuple[Tensor, ...]:
    return (_sample(MAP, 0),)


def mobilevit_calibration() -> Iterator[tuple[Tensor, ...]]:
    return _samples(IMAGE, 32, 1)


def wav2vec2_calibration() -> Iterator[tuple[Tensor, ...]]:
    return _samples(SOUND, 32, 1)


def segmentation_calibration() -> Iterator[tuple[Tensor, ...]]:
    return _samples(MAP, 32, 1)


def mobilevit_evaluation() -> Iterator[tuple[tuple[Tensor, ...], None]]:
    return ((inputs, None) for inputs in _samples(IMAGE, 16, 2))


def wav2vec2_evaluation() -> Iterator[tuple[tuple[Tensor, ...], None]]:
    return ((inputs, None) for inputs in _samples(SOUND, 16, 2))


def segmentation_evaluation() -> Iterator[tuple[tuple[Tensor, ...], None]]:
    return ((inputs, None) for inputs in _samples(MAP, 16, 2))


def _samples(shape: tuple[int, ...], count: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    return ((_sample(shape, 1000 * seed + i),) for i in range(count))


def _sample(shape: tuple[int, ...], seed: int) -> Tensor:
    """Returns smooth noise of unit variance: neighbours are alike, as in photographs and sound."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator)
    for axis in range(2 if len(shape) > 2 else 1, len(shape)):
        noise = noise + noise.roll(1, axis) + noise.roll(2, axis)
    return noise / noise.std()


def _settled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Returns the model with the means and variances of its batch norms taken from random data."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = cast("Any", None)  # a plain mean over the passes
        norm.train()
    with torch.no_grad():
        for i in range(4):
            model.eval()
            for norm in norms:
                norm.train()
            model(torch.cat([_sample(shape, 100 * i + k) for k in range(8)]))
    return model.eval()
