"""Bags of embeddings as a look-up, and a sum, a mean or a largest of each bag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor

_SUM, _MEAN = 0, 1


def embedding_bag(call: Call) -> Function | None:
    """Writes bags as a look-up whose rows are added, averaged or compared: those of a bag by a table of members."""
    if call.read - {0}:
        return None
    offsets, count = call.constants.get("offsets"), call.shape("indices")[0]
    plain = call["per_sample_weights"] is None and not _ignores(call) and not call["include_last_offset"]
    if plain and offsets is not None and int(call["mode"]) in (_SUM, _MEAN):
        bags = len(offsets)
        if not count % bags and offsets.tolist() == list(range(0, count, count // bags)):
            return _of_one_size(bags, int(call["mode"]))
    return _of_members(call, count)


def _ignores(call: Call) -> bool:
    """Returns whether one index stands for nothing."""
    return call.arguments.get("padding_idx") not in (None, -1)


def _of_one_size(bags: int, mode: int) -> Function:
    import torch

    def looked_up(table: Tensor, ids: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
        rows = torch.embedding(table, ids.reshape(bags, -1))
        del offsets
        return _with_the_rest(rows.sum(1) if mode == _SUM else rows.mean(1))

    return looked_up


def _of_members(call: Call, count: int) -> Function:
    """Bag b holds the places p with offsets[b] <= p < offsets[b + 1]; the last one goes on to the end."""
    import torch

    mode, has_end, ignored = int(call["mode"]), bool(call["include_last_offset"]), call.arguments.get("padding_idx")

    def looked_up(table: Tensor, ids: Tensor, offsets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, ...]:
        places = torch.arange(count)
        starts = offsets[:-1] if has_end else offsets
        ends = offsets[1:] if has_end else torch.cat([offsets[1:], torch.full((1,), count, dtype=offsets.dtype)])
        members = (places >= starts[:, None]) & (places < ends[:, None])
        if _ignores(call):
            members = members & (ids != ignored)
        rows = torch.embedding(table, ids)
        if mode not in (_SUM, _MEAN):
            kept = torch.where(members[:, :, None], rows, torch.full((), torch.finfo(rows.dtype).min))
            return _with_the_rest(torch.where(members.any(1)[:, None], kept.amax(1), torch.zeros(())))
        shares = members.to(rows.dtype)
        totals = (shares if weights is None else shares * weights) @ rows
        return _with_the_rest(totals if mode == _SUM else totals / shares.sum(1, keepdim=True).clamp(min=1))

    return looked_up


def _with_the_rest(found: Tensor) -> tuple[Tensor, ...]:
    """Returns the result and the three others of the operator, which nothing reads."""
    import torch

    empty = torch.zeros(0, dtype=torch.int64)
    return found, empty, empty, empty
