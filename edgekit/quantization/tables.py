"""Which weights a table of values (a palette) can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

LEAST_WEIGHTS: Final = 2048
"""coremltools' own limit: what is smaller stays as it is."""


_LARGEST_TABLE: Final = 256


def has_table(weight: Tensor) -> bool:
    """Returns whether a weight (a torch tensor) takes so few values that a table of them is stored."""
    import torch

    flat = weight.detach().flatten()
    if flat.numel() < LEAST_WEIGHTS or not flat.is_floating_point():
        return False
    # Most weights are distinguished by their first values.
    return all(len(torch.unique(part)) <= _LARGEST_TABLE for part in (flat[:LEAST_WEIGHTS], flat))
