"""The training loop of these networks, and where their weights lie: beside the checkout, never in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

FOLDER: Final = Path(os.environ.get("EDGEKIT_TRAINED", Path(__file__).parents[3].parent / "trained")) / "vision"
"""Where trained weights lie."""


def restored(name: str, model: nn.Module) -> nn.Module:
    """Returns the model with the weights that `train.py NAME` kept."""
    path = FOLDER / f"{name}.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: python benchmarks/tasks/vision/train.py {name}")
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def fit(name: str, model: nn.Module, batches: Callable[[int], Any], loss: Callable[[Any], Tensor], *,
        steps: int, rate: float) -> Iterator[str]:  # fmt: skip
    """Trains by AdamW and one cycle of the learning rate, keeps the weights, and says every 50 steps how it goes."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    started, total = time.monotonic(), 0.0
    model.train()
    for step in range(steps):
        value = loss(batches(step))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]  # torch's stubs
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
        total += float(value.detach())
        if step % 50 == 49:
            yield f"{name} step {step + 1} of {steps}, {time.monotonic() - started:.0f} s, loss {total / 50:.3f}"
            total = 0.0
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), FOLDER / f"{name}.pt")
