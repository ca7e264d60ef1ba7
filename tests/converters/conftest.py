"""Tiny torch models, captured as the sources capture them, with calibration samples and the float model's outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.model import CapturedModel, TensorSpec
from edgekit.samples import Samples, write_samples


@dataclass(frozen=True)
class TinyModel:
    captured: CapturedModel
    calibration: Path
    outputs: tuple[np.ndarray, ...]

    @property
    def rows(self) -> list[tuple[np.ndarray, ...]]:
        return list(Samples.open(self.calibration).rows())


def _networks() -> dict[str, tuple[Callable[[], Any], Callable[[], tuple[Any, ...]]]]:
    import torch
    from torch import nn

    class Convolutions(nn.Module):
        """Padding, convolution, batch norm, ReLU6, depthwise convolution, a residual, global pooling, a classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.project = nn.Conv2d(8, 8, 1)
            self.clamp = nn.ReLU6()
            self.head = nn.Linear(8, 10)
            self.norm.running_mean.copy_(torch.linspace(-0.3, 0.3, 8))
            self.norm.running_var.copy_(torch.linspace(0.05, 1.5, 8))
            self.norm.weight.data.fill_(4.0)  # a range far above 6: a grid before the clamp would be visible

        def forward(self, image: Any) -> Any:
            x = self.clamp(self.norm(self.stem(nn.functional.pad(image, (0, 1, 0, 1)))))
            x = x + self.project(self.clamp(self.depthwise(x)))
            return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    class Smooth(nn.Module):
        """Activations that are flat below zero, behind layers that give values far below."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.middle, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)
            self.stem.weight.data *= 20
            self.stem.bias.data.fill_(-20.0)

        def forward(self, image: Any) -> Any:
            x = nn.functional.silu(self.stem(image))
            return self.head(nn.functional.hardswish(self.middle(x)))

    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.join = nn.Linear(8, 16), nn.Linear(4, 16), nn.Linear(32, 3)

        def forward(self, left: Any, right: Any) -> Any:
            joined = torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], 1)
            return self.join(joined)

    class Gated(nn.Module):
        """A recurrent layer with a loop inside, in Core ML."""

        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(10, 16, 1, batch_first=True), nn.Linear(16, 8)

        def forward(self, x: Any) -> Any:
            return self.head(self.gru(x)[0][:, -1])

    class UpAndAcross(nn.Module):
        """A feature map that a convolution and a transposed convolution read, as in a U-Net."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.across = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
            self.up = nn.ConvTranspose2d(8, 5, 2, 2)

        def forward(self, x: Any) -> Any:
            found = torch.relu(self.stem(x))
            return self.across(found), self.up(found)

    class Hybrid(nn.Module):
        """Convolutions, a transformer block on their map, a convolution behind it, a classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.keep = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
            self.norm, self.query, self.value = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16)
            self.fold, self.head = nn.Conv2d(16, 24, 1), nn.Linear(24, 5)

        def forward(self, image: Any) -> Any:
            x = nn.functional.silu(self.stem(image))
            x = x + nn.functional.silu(self.keep(x))
            tokens = x.flatten(2).transpose(1, 2)
            y = self.norm(tokens)
            query = self.query(y)
            tokens = tokens + torch.softmax(query @ query.transpose(1, 2), -1) @ self.value(y)
            found = torch.relu(self.fold(tokens.transpose(1, 2).reshape(x.shape)))
            return self.head(found.mean((2, 3)))

    class Skipped(nn.Module):
        """Small values that a convolution makes large and that are then joined with its result."""

        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Conv2d(16, 4, 1)
            for part in self.small.parameters():
                part.data *= 1e-3
            self.large.weight.data *= 1e4

        def forward(self, image: Any) -> Any:
            small = self.small(image)
            return self.head(torch.cat((self.large(small), small), 1))

    class Energies(nn.Module):
        """Logarithms of energies that differ by orders of magnitude, as in a spectrogram."""

        def __init__(self) -> None:
            super().__init__()
            self.bands, self.head = nn.Linear(32, 32, bias=False), nn.Linear(32, 8)
            self.bands.weight.data = torch.rand(32, 32) * torch.logspace(-4, 0, 32)[:, None]

        def forward(self, sound: Any) -> Any:
            return self.head(torch.log(self.bands(sound * sound) + 1e-6))

    class Wide(nn.Module):
        """Two layers that read one normalized value, rows of which differ in size; a narrow one behind."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.gate, self.value = nn.LayerNorm(32), nn.Linear(32, 160), nn.Linear(32, 160)
            self.head = nn.Linear(160, 4)

        def forward(self, x: Any) -> Any:
            x = self.norm(x) * torch.logspace(-1, 1, 6)[:, None]
            return self.head(torch.tanh(self.gate(x)) + torch.tanh(self.value(x)))

    class TokenIds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.hidden, self.head = nn.Embedding(200, 32), nn.Linear(32, 64), nn.Linear(64, 5)
            self.norm = nn.LayerNorm(64)

        def forward(self, ids: Any) -> Any:
            return self.head(self.norm(nn.functional.gelu(self.hidden(self.table(ids)))).mean(1))

    class Tables(nn.Module):
        """Rows of two groups of 64 columns, of three of 32, and of 40, which no groups fill."""

        def __init__(self) -> None:
            super().__init__()
            self.wide, self.middle, self.odd = nn.Embedding(500, 128), nn.Embedding(500, 96), nn.Embedding(500, 40)
            self.wide.weight.data[3] = 0

        def forward(self, ids: Any) -> Any:
            return self.wide(ids), self.middle(ids), self.odd(ids)

    class TiedTable(nn.Module):
        """A table that gives words their rows and scores them too, as language models have it."""

        def __init__(self) -> None:
            super().__init__()
            self.table, self.hidden, self.head = nn.Embedding(60, 64), nn.Linear(64, 64), nn.Linear(64, 60, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Any) -> Any:
            return self.head(torch.tanh(self.hidden(self.table(ids))))

    class NarrowTable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(200, 1), nn.Linear(12, 5)

        def forward(self, ids: Any) -> Any:
            return self.head(self.table(ids).squeeze(2))

    class Bottleneck(nn.Module):
        """A row of the last layer has 46 columns: no whole number of blocks of 32."""

        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(64, 46), nn.Linear(46, 64)

        def forward(self, x: Any) -> Any:
            return self.up(torch.relu(self.down(x)))

    class SpelledNorm(nn.Module):
        """A norm in single operators, as language models have it."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.rand(64) + 0.5), nn.Parameter(torch.rand(64))

        def forward(self, x: Any) -> Any:
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)) + self.bias

    class NormedProjections(nn.Module):
        """Norms whose scales LiteRT would fold into the layers behind them."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.query, self.value = nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 64)
            self.norm.weight.data.uniform_(0.5, 1.5)
            self.spelled, self.out = SpelledNorm(), nn.Linear(64, 64)

        def forward(self, x: Any) -> Any:
            x = self.norm(x)
            return self.out(self.spelled(torch.softmax(self.query(x), -1) * self.value(x)))

    class TwoOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 2)

        def forward(self, x: Any) -> Any:
            hidden = torch.relu(self.trunk(x))
            return self.first(hidden), torch.sigmoid(self.second(hidden))

    class Recurrent(nn.Module):
        def __init__(self, steps: int) -> None:
            super().__init__()
            self.steps, self.lstm, self.head = steps, nn.LSTM(10, 16, 2, batch_first=True), nn.Linear(16, 8)

        def forward(self, x: Any) -> Any:
            _, (hidden, _) = self.lstm(x)
            return self.head(hidden[-1])

    class Loud(nn.Module):
        """Values far beyond float16's range in the middle, small ones at both ends."""

        def __init__(self, *, in_module: bool) -> None:
            super().__init__()
            self.first, self.last, self.loud = nn.Linear(8, 16), nn.Linear(16, 3), Scale() if in_module else None

        def forward(self, x: Any) -> Any:
            hidden = torch.relu(self.first(x))
            return self.last(self.loud(hidden) if self.loud is not None else hidden * 1e6 * 1e-6)

    class Scale(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 1e6 * 1e-6

    class Unknown(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.eigvalsh(x)

    return {
        "convolutions": (Convolutions, lambda: (torch.randn(1, 3, 24, 24),)),
        "smooth": (Smooth, lambda: (torch.randn(1, 3, 12, 12),)),
        "two_inputs": (TwoInputs, lambda: (torch.randn(1, 8), torch.randn(1, 4))),
        "hybrid": (Hybrid, lambda: (torch.randn(1, 3, 16, 16),)),
        "wide": (Wide, lambda: (torch.randn(1, 6, 32),)),
        "skipped": (Skipped, lambda: (torch.randn(1, 3, 12, 12),)),
        "energies": (Energies, lambda: (torch.randn(1, 32),)),
        "token_ids": (TokenIds, lambda: (torch.randint(0, 200, (1, 12)),)),
        "tables": (Tables, lambda: (torch.randint(0, 500, (1, 12)),)),
        "tied_table": (TiedTable, lambda: (torch.randint(0, 60, (1, 12)),)),
        "narrow_table": (NarrowTable, lambda: (torch.randint(0, 200, (1, 12)),)),
        "normed_projections": (NormedProjections, lambda: (torch.randn(1, 4, 64),)),
        "bottleneck": (Bottleneck, lambda: (torch.randn(1, 64),)),
        "two_outputs": (TwoOutputs, lambda: (torch.randn(1, 8),)),
        "gated": (Gated, lambda: (torch.randn(1, 5, 10),)),
        "up_and_across": (UpAndAcross, lambda: (torch.randn(1, 3, 8, 8),)),
        "recurrent": (lambda: Recurrent(3), lambda: (torch.randn(1, 3, 10),)),
        "long_recurrent": (lambda: Recurrent(160), lambda: (torch.randn(1, 160, 10),)),
        "longest_recurrent": (lambda: Recurrent(320), lambda: (torch.randn(1, 320, 10),)),
        "loud": (lambda: Loud(in_module=True), lambda: (torch.randn(1, 8),)),
        "loud_outside": (lambda: Loud(in_module=False), lambda: (torch.randn(1, 8),)),
        "unknown_operator": (Unknown, lambda: (torch.randn(1, 4, 4),)),
    }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """Returns a function from a name to a tiny model, made on first use."""
    made: dict[str, TinyModel] = {}

    def make(name: str) -> TinyModel:
        if name not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = _capture(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def _capture(name: str, folder: Path) -> TinyModel:
    import torch

    from edgekit.torch_program.canonical_program import canonical

    build, example = _networks()[name]
    torch.manual_seed(0)
    model = build().eval()
    examples = [example() for _ in range(16)]
    program = canonical(torch.export.export(model, examples[0]), examples[0], name)
    torch.export.save(program, folder / "float.pt2")
    with torch.no_grad():
        outputs = [model(*inputs) for inputs in examples]
    rows = [item if isinstance(item, tuple) else (item,) for item in outputs]
    names = list(program.graph_signature.user_inputs)
    captured = CapturedModel(
        name=name,
        source=f"{name}.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "float.pt2",
        inputs=tuple(_spec(key, tensor) for key, tensor in zip(names, examples[0], strict=True)),
        outputs=tuple(_spec(f"result_{i}", tensor) for i, tensor in enumerate(rows[0])),
        digest="0" * 64,
        parameters=sum(p.numel() for p in model.parameters()),
        macs=None,
        family="unknown",
    )
    samples = write_samples(folder / "samples", names, (tuple(t.numpy() for t in inputs) for inputs in examples))
    stacked = tuple(np.concatenate([row[i].numpy() for row in rows]) for i in range(len(rows[0])))
    return TinyModel(captured=captured, calibration=samples.folder, outputs=stacked)


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


@pytest.fixture(scope="session")
def sqnr() -> Callable[[np.ndarray, np.ndarray], float]:
    """Returns a function of (reference, other) to the signal to quantization noise ratio in dB."""

    def ratio(reference: np.ndarray, other: np.ndarray) -> float:
        noise = float(((reference - other) ** 2).sum())
        return float(10 * np.log10(float((reference**2).sum()) / max(noise, 1e-30)))

    return ratio
