"""Mixtures of experts as products with all experts of which each row keeps its own, and counts of the rows of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def grouped_product(call: Call) -> Function:
    """Writes the product of transformers' experts, whose rows are sorted by expert, without a loop over values.

    Row s belongs to the first expert e with s < offsets_e, the number of rows up to and with e's. Rows behind the last
    belong to none and give 0.
    """
    import torch

    rows, experts = call.shape("input")[0], call.shape("weight")[0]

    def product(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
        owner = (torch.arange(rows).unsqueeze(0) >= offsets.long().unsqueeze(1)).long().sum(0, keepdim=True)
        mine = owner == torch.arange(experts).unsqueeze(1)
        every = torch.matmul(x.unsqueeze(0), weight)
        return torch.where(mine.unsqueeze(-1), every, torch.zeros(())).sum(0)

    return product


def histogram(call: Call) -> Function | None:
    """Writes a histogram between fixed bounds as comparisons of each value's place with all places."""
    import torch

    bins, low, high = int(call["bins"]), float(call["min"]), float(call["max"])
    dtype = call.results[0].dtype
    if low >= high:
        return None  # the bounds are those of the values

    def counted(x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        place = torch.clamp(torch.floor((flat.float() - low) * bins / (high - low)), max=float(bins - 1))
        place = torch.where((flat >= low) & (flat <= high), place, torch.full((), -1.0))
        return (place.unsqueeze(0) == torch.arange(bins).float().unsqueeze(1)).to(dtype).sum(1)

    return counted
