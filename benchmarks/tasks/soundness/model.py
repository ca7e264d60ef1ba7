"""Small networks of many kinds, trained for a few seconds on data made up here: what soundness is measured on.

No floor of `edgekit.validators.floors` was chosen by looking at them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from data import CLASSES, images, sequences, tables, tokens
from torch import Tensor, nn


class Trunk(nn.Module):
    """Convolutions of a mobile network: (N, 3, 32, 32) to (N, 32, 8, 8)."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU6())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU6())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(32, 32, 3, padding=1, groups=32),
                nn.BatchNorm2d(32),
                nn.ReLU6(),
                nn.Conv2d(32, 32, 1),
                nn.BatchNorm2d(32),
            )
            for _ in range(blocks)
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.down(self.stem(image))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return x


class Classifier(nn.Module):
    """Logits of ten classes, or the softmax of 200, of which 190 never get anything."""

    def __init__(self, *, softmax: bool, blocks: int = 2) -> None:
        super().__init__()
        self.softmax = softmax
        self.trunk, self.head = Trunk(blocks), nn.Linear(32, 200 if softmax else CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        scores = self.head(self.trunk(image).mean((2, 3)))
        return torch.softmax(scores, 1) if self.softmax else scores


class Detector(nn.Module):
    """Boxes, sigmoid scores, and the class of each place: three outputs of which a metric reads the first."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.boxes, self.scores = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.trunk(image)
        scores = self.scores(x)
        return 32 * self.boxes(x), torch.sigmoid(scores), scores.argmax(1)


class Segmenter(nn.Module):
    """A class map (N, 32, 32) of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Conv2d(32, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.interpolate(self.head(self.trunk(image)), scale_factor=4.0, mode="nearest")
        return x.argmax(1)


class Table(nn.Module):
    """Two heads over a row of numbers: scores and shares."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.first, self.second = nn.Linear(64, CLASSES), nn.Linear(64, CLASSES)

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(row)
        return self.first(x), torch.sigmoid(self.second(x))


class Recurrent(nn.Module):
    """An LSTM's states (N, T, 48) and the scores at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(12, 48, batch_first=True), nn.Linear(48, CLASSES)

    def forward(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = self.layer(sequence)
        return self.head(states[:, -1]), states


class Block(nn.Module):
    """A layer of a transformer, normalized before each part."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.inner, self.outer = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (f(y).reshape(1, -1, 4, 8).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(1, -1, 32))
        return x + self.outer(nn.functional.gelu(self.inner(self.norm2(x))))


class Encoder(nn.Module):
    """Three such layers over token ids: a vector for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(40, 32), nn.LayerNorm(32)
        self.layers = nn.ModuleList(Block(32) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


def cnn() -> nn.Module:
    return _trained(lambda: Classifier(softmax=False))


def small_cnn() -> nn.Module:
    torch.manual_seed(2)
    return Classifier(softmax=False, blocks=1).eval()


def softmax() -> nn.Module:
    return _trained(lambda: Classifier(softmax=True))


def detector() -> nn.Module:
    return _settled(Detector)


def segmenter() -> nn.Module:
    return _settled(Segmenter)


def table() -> nn.Module:
    return _settled(Table)


def recurrent() -> nn.Module:
    return _settled(Recurrent)


def encoder() -> nn.Module:
    return _settled(Encoder)


def image_inputs() -> tuple[Tensor, ...]:
    return (torch.from_numpy(images(1, 0)[0]),)


def table_inputs() -> tuple[Tensor, ...]:
    return (torch.from_numpy(tables(1, 0)[0]),)


def sequence_inputs() -> tuple[Tensor, ...]:
    return (torch.from_numpy(sequences(1, 0)[0]),)


def token_inputs() -> tuple[Tensor, ...]:
    return (torch.from_numpy(tokens(1, 0)[0]),)


def _settled(build: Callable[[], nn.Module]) -> nn.Module:
    """Returns random weights, with the statistics of batch norms taken from data."""
    torch.manual_seed(1)
    model = build()
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        with torch.no_grad():
            for seed in range(8):
                model(torch.from_numpy(images(32, 100 + seed)[0]))
    return model.eval()


def _trained(build: Callable[[], nn.Module]) -> nn.Module:
    """Returns a classifier after 120 steps."""
    torch.manual_seed(1)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(120):
        array, labels = images(32, 100 + step)
        out = model(torch.from_numpy(array))
        scores = (out + 1e-9).log() if getattr(model, "softmax", False) else out.log_softmax(1)
        loss = nn.functional.nll_loss(scores, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
