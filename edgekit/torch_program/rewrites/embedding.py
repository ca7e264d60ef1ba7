"""Bags of embeddings as a look-up and a sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor

_SUM, _MEAN = 0, 1


def embedding_bag(call: Call) -> Function | None:
    """Writes bags of one size, whose offsets are known, as a look-up whose rows are added or averaged."""
    import torch

    offsets = call.constants.get("offsets")
    count, mode = call.shape("indices")[0], int(call["mode"])
    ignored = call.arguments.get("padding_idx")
    plain = call["per_sample_weights"] is None and ignored in (None, -1) and not call["include_last_offset"]
    if offsets is None or call.read - {0} or not plain or mode not in (_SUM, _MEAN):
        return None
    bags = len(offsets)
    if count % bags or offsets.tolist() != list(range(0, count, count // bags)):
        return None

    def looked_up(table: Tensor, ids: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
        rows = torch.embedding(table, ids.reshape(bags, -1))
        empty = torch.zeros(0, dtype=torch.int64)
        del offsets
        return (rows.sum(1) if mode == _SUM else rows.mean(1)), empty, empty, empty

    return looked_up
