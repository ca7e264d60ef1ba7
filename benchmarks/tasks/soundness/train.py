"""What the techniques that train need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from data import images
from torch import Tensor


def batches(epoch: int) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
    for step in range(20):
        array, labels = images(32, 1000 + 20 * epoch + step)
        yield (torch.from_numpy(array),), torch.from_numpy(labels)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(output, target)
