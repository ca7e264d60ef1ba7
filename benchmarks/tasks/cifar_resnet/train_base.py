"""Trains the ResNet-20 that the benchmarks start from.

    EDGEKIT_TRAINED=DIR python benchmarks/tasks/cifar_resnet/train_base.py

Early epochs see small images, which costs a quarter: 8 epochs of 16 pixels, 4 of 24, 3 of 32. A run that was
interrupted goes on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from data import Epoch, held_out, loss
from resnet import FOLDER, ResNet

from edgekit.training.loop import Run, TrainingObjective, train
from edgekit.training.schedule import Schedule
from edgekit.training.training_data import TrainingData

SIZES = (16,) * 8 + (24,) * 4 + (32,) * 3


def objective_of(net: Any) -> TrainingObjective:
    """Returns a lesson for a network with batch norms, in training mode while it learns."""

    def taught(inputs: tuple[Any, ...], target: Any) -> Any:
        return loss(net.train()(*inputs), target)

    return TrainingObjective(module=net, loss=taught, predict=lambda inputs: net.eval()(*inputs), name="training")


def main() -> None:
    torch.manual_seed(0)
    net = ResNet()
    data = TrainingData(batches=lambda epoch: Epoch(SIZES[epoch]), loss=loss, held_out=held_out, title="base")
    started = time.monotonic()

    def tell(phrase: str, share: float | None) -> None:
        print(f"{time.monotonic() - started:6.0f} s {100 * (share or 0):5.1f} % {phrase}", flush=True)

    schedule = Schedule(epochs=len(SIZES), learning_rate=0.1)
    run = Run(checkpoint=FOLDER / "base.ckpt", key="base", progress=tell, keeps_start=False)
    trained = train(objective_of(net), data, schedule, run)
    torch.save(net.eval().state_dict(), FOLDER / "resnet20.pt")
    print(f"held-out {trained.best}", flush=True)


if __name__ == "__main__":
    main()
