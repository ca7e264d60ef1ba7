"""Channels and axes in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def channel_shuffle(call: Call) -> Function | None:
    """Writes channels (groups, c / groups) as (c / groups, groups)."""
    shape, groups = call.shape("self"), int(call["groups"])
    apart = (shape[0], groups, shape[1] // groups, *shape[2:])
    return lambda x: x.reshape(apart).transpose(1, 2).reshape(shape)


def flip(call: Call) -> Function | None:
    """Turns one axis round after the other: LiteRT's kernel takes axes that lie side by side only."""
    axes = [int(axis) for axis in call["dims"]]

    def turned(x: Tensor) -> Tensor:
        for axis in axes:
            x = x.flip(axis)
        return x

    return turned if len(axes) > 1 else None


def roll(call: Call) -> Function | None:
    """Writes a turn without axes as one of all elements in a row, which is what it means."""
    if list(call["dims"]):
        return None
    shape, shift = call.shape("self"), [int(size) for size in call["shifts"]]
    return lambda x: x.reshape(-1).roll(shift, [0]).reshape(shape)


def one_hot(call: Call) -> Function | None:
    """Compares with 0, 1, 2, ... instead of checking the range first, which no runtime does."""
    import torch

    count = call.result_shape[-1]
    return lambda x: (x.unsqueeze(-1) == torch.arange(count)).to(torch.int64)
