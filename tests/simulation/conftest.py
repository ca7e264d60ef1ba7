"""A small CNN that was trained for a moment, captured as the sources capture models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.model import CapturedModel, TensorSpec
from edgekit.samples import Samples, write_samples
from edgekit.simulation.jobs import SimulationData


@dataclass(frozen=True)
class TrainedModel:
    captured: CapturedModel
    samples: Samples
    outputs: np.ndarray


def _network() -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
            self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
            self.project = nn.Conv2d(12, 12, 1)
            self.clamp = nn.ReLU6()
            self.head = nn.Linear(12, 4)

        def forward(self, image: Any) -> Any:
            x = self.clamp(self.stem(image))
            x = x + self.project(self.clamp(self.depthwise(x)))
            return self.head(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    return Net()


def _images(count: int, seed: int) -> tuple[Any, Any]:
    """Four classes: stripes of one of two directions in one of two colours, with noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    wave = torch.sin(torch.arange(16) * 1.6)
    images = 0.4 * torch.randn(count, 3, 16, 16, generator=generator)
    for i, label in enumerate(labels.tolist()):
        stripes = wave[:, None] if label % 2 else wave[None, :]
        images[i, label // 2] += stripes
    return images, labels


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    import torch

    from edgekit.torch_program.canonical_program import canonical

    torch.manual_seed(0)
    model = _network()
    images, labels = _images(256, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(60):
        part = slice(64 * (step % 4), 64 * (step % 4) + 64)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
    model = model.eval()
    folder = tmp_path_factory.mktemp("trained")
    rows = _images(48, seed=2)[0]
    example = (rows[:1],)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = canonical(torch.export.export(model, example), example, "net")
        torch.export.save(program, folder / "float.pt2")
    samples = write_samples(folder / "samples", ["image"], ((row[None].numpy(),) for row in rows))
    captured = CapturedModel(
        name="net",
        source="net.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "float.pt2",
        inputs=(TensorSpec(name="image", shape=(1, 3, 16, 16), dtype="float32"),),
        outputs=(TensorSpec(name="result", shape=(1, 4), dtype="float32"),),
        digest="0" * 64,
        parameters=sum(p.numel() for p in model.parameters()),
        macs=None,
        family="cnn",
    )
    with torch.no_grad():
        return TrainedModel(captured=captured, samples=samples, outputs=model(rows).numpy())


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Folder of a worker's results."""
    journal = tmp_path / "journal"
    journal.mkdir()
    return journal


@pytest.fixture
def data(trained: TrainedModel) -> SimulationData:
    """What is simulated."""
    return SimulationData(model=trained.captured, samples=trained.samples)
