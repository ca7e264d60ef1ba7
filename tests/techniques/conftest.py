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
from edgekit.samples import Samples
from edgekit.testing.tiny_models import TinyNetwork, capture_tiny


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

    from edgekit.testing import tiny_modules

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

    def ids() -> tuple[Any, ...]:
        return (torch.randint(0, 50, (1, 12)),)

    return {
        "convolutions": (tiny_modules.Convolutions, lambda: (torch.randn(1, 3, 16, 16),), "cnn"),
        "attention": (tiny_modules.Attention, ids, "transformer"),
        "encoder": (
            lambda: tiny_modules.Encoder(before=False),
            lambda: (torch.randint(0, 50, (1, 12)),),
            "transformer",
        ),
        "encoder before": (
            lambda: tiny_modules.Encoder(before=True),
            lambda: (torch.randint(0, 50, (1, 12)),),
            "transformer",
        ),
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
    build, example, family = _networks()[name]
    made = capture_tiny(name, TinyNetwork(build=build, example=example, family=family), folder)
    return Tiny(model=made.model, samples=made.samples)
