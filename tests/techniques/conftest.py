"""Tiny captured torch models with calibration samples, made as the sources make them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.model import CapturedModel, Family
from edgekit.samples import Samples, write_samples
from edgekit.sources.captured_file import write_captured


@dataclass(frozen=True)
class Tiny:
    model: CapturedModel
    samples: Samples

    def outputs(self, model: CapturedModel | None = None) -> np.ndarray:
        """Returns the outputs of the float model (or of a changed one) for all samples."""
        import torch

        module = torch.export.load((model or self.model).path).module(check_guards=False)
        with torch.no_grad():
            rows = [module(*(torch.from_numpy(x.copy()) for x in row)) for row in self.samples.rows()]
        return np.concatenate([row.numpy() for row in rows])


def _networks() -> dict[str, tuple[Any, Any, Family]]:
    import torch
    from torch import nn

    class Convolutions(nn.Module):
        """Every layer kind of a mobile CNN: ReLU6, ReLU, depthwise, a residual, pooling, a classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.project = nn.Conv2d(8, 6, 1)
            self.expand = nn.Conv2d(6, 12, 1)
            self.back = nn.Conv2d(12, 6, 1)
            self.last = nn.Conv2d(6, 16, 1)
            self.head = nn.Linear(16, 10)
            # Channels of very different range: what equalization is for.
            self.project.weight.data *= torch.logspace(-1.5, 1, 6)[:, None, None, None]

        def forward(self, image: Any) -> Any:
            x = self.project(nn.functional.relu6(self.depthwise(nn.functional.relu6(self.stem(image)))))
            x = x + self.back(torch.relu(self.expand(x)))
            return self.head(torch.relu(self.last(x)).mean((2, 3)))

    class Attention(nn.Module):
        """A transformer's layer: embedding, layer norms with outlier channels, attention, GELU, a residual."""

        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm1, self.norm2 = nn.Embedding(50, 32), nn.LayerNorm(32), nn.LayerNorm(32)
            self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))
            self.inner, self.outer = nn.Linear(32, 64), nn.Linear(64, 32)
            self.norm1.weight.data[3] = 20.0

        def forward(self, ids: Any) -> Any:
            x = self.norm1(self.table(ids))
            scores = torch.softmax(self.query(x) @ self.key(x).transpose(-1, -2) / 32**0.5, -1)
            x = self.norm2(x + self.out(scores @ self.value(x)))
            return (x + self.outer(nn.functional.gelu(self.inner(x)))).mean(1)

    class Heads(nn.Module):
        """Attention with four heads: products written out with a mask, or torch's own operator."""

        def __init__(self, fused: bool) -> None:
            super().__init__()
            self.fused = fused
            self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

        def forward(self, x: Any, mask: Any) -> Any:
            q, k, v = (layer(x).reshape(1, -1, 4, 4).transpose(1, 2) for layer in (self.query, self.key, self.value))
            if self.fused:
                mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            else:
                mixed = torch.softmax(q @ k.transpose(-1, -2) / 2 + mask, -1) @ v
            return self.out(mixed.transpose(1, 2).reshape(1, -1, 16))

    class Encoder(nn.Module):
        """Three layers of a transformer, normalized before or after each block."""

        def __init__(self, before: bool) -> None:
            super().__init__()
            self.before = before
            self.table, self.last = nn.Embedding(50, 16), nn.LayerNorm(16)
            self.attentions = nn.ModuleList(Heads(before) for _ in range(3))
            self.inner, self.outer = (
                nn.ModuleList(nn.Linear(*size) for _ in range(3)) for size in ((16, 32), (32, 16))
            )
            self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(6))

        def forward(self, ids: Any) -> Any:
            x, mask = self.table(ids), (ids == 0)[:, None, None, :] * -1e4
            for i in range(3):
                first, second = self.norms[2 * i : 2 * i + 2]
                if self.before:
                    x = x + self.attentions[i](first(x), mask)
                    x = x + self.outer[i](torch.relu(self.inner[i](second(x))))
                else:
                    x = first(x + self.attentions[i](x, mask))
                    x = second(x + self.outer[i](torch.relu(self.inner[i](x))))
            return self.last(x).mean(1)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 8, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.lstm(x)[0]

    class Clamped(nn.Module):
        """Nothing but what no technique here can change."""

        def forward(self, x: Any) -> Any:
            return torch.sigmoid(x) * 2

    return {
        "convolutions": (Convolutions, lambda: (torch.randn(1, 3, 16, 16),), "cnn"),
        "attention": (Attention, lambda: (torch.randint(0, 50, (1, 12)),), "transformer"),
        "encoder": (lambda: Encoder(before=False), lambda: (torch.randint(0, 50, (1, 12)),), "transformer"),
        "encoder before": (lambda: Encoder(before=True), lambda: (torch.randint(0, 50, (1, 12)),), "transformer"),
        "recurrent": (Recurrent, lambda: (torch.randn(1, 5, 4),), "rnn"),
        "clamped": (Clamped, lambda: (torch.randn(1, 5),), "unknown"),
    }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Returns a function from a name to a tiny captured model, made on first use."""
    made: dict[str, Tiny] = {}

    def make(name: str) -> Tiny:
        if name not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = _capture(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def _capture(name: str, folder: Path) -> Tiny:
    import torch

    from edgekit.torch_program import program_facts
    from edgekit.torch_program.canonical_program import canonical

    build, example, family = _networks()[name]
    torch.manual_seed(0)
    module = build().eval()
    examples = [example() for _ in range(24)]
    program = canonical(torch.export.export(module, examples[0], strict=False), examples[0], name)
    capture = program_facts.save(program, folder, sum(p.numel() for p in module.parameters()))
    model = CapturedModel(
        name=name,
        source=f"{name}.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / capture.file,
        inputs=capture.inputs,
        outputs=capture.outputs,
        digest=capture.digest,
        parameters=capture.parameters,
        macs=capture.architecture.macs,
        family=family,
    )
    write_captured(model, folder)
    names = [spec.name for spec in capture.inputs]
    samples = write_samples(folder / "samples", names, (tuple(t.numpy() for t in inputs) for inputs in examples))
    return Tiny(model=model, samples=samples)
