"""Slices, crops and pads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _ranges(call: Call, x: Tensor) -> tuple[list[range], list[int]]:
    """Returns the positions that a slice takes along each axis, and the axes to squeeze out."""
    rank = x.dim()
    begin, end = call.integers("begin"), call.integers("end")
    stride = call.integers("stride", [1] * rank)
    from_start, to_end = call.flags("begin_mask", rank), call.flags("end_mask", rank)
    squeeze = call.flags("squeeze_mask", rank)
    taken: list[range] = []
    for axis, size in enumerate(x.shape):
        if squeeze[axis]:
            first = 0 if from_start[axis] else begin[axis]
            first += size if first < 0 else 0
            taken.append(range(first, first + 1))
            continue
        start = None if from_start[axis] else begin[axis]
        stop = None if to_end[axis] else end[axis]
        taken.append(range(size)[start : stop : stride[axis]])
    return taken, [axis for axis in range(rank) if squeeze[axis]]


def _slice_by_index(call: Call) -> Tensor:
    x = call.tensor("x")
    taken, squeeze = _ranges(call, x)
    for axis, positions in enumerate(taken):
        if len(positions) == x.shape[axis] and positions.step == 1:
            continue
        if positions.step == 1:
            x = x.narrow(axis, positions.start, len(positions))
        else:
            x = x.index_select(axis, torch.tensor(list(positions), dtype=torch.int64))
    return x.squeeze(tuple(squeeze)) if squeeze else x


def _slice_update(call: Call) -> Tensor:
    x, update = call.tensor("x"), call.tensor("update")
    taken, _ = _ranges(call, x)
    result = x.clone()
    grid = torch.meshgrid([torch.tensor(list(positions), dtype=torch.int64) for positions in taken], indexing="ij")
    result[grid] = update.to(x.dtype).reshape(grid[0].shape)
    return result


def _slice_by_size(call: Call) -> Tensor:
    x, begin, size = call.tensor("x"), call.integers("begin"), call.integers("size")
    for axis, (first, length) in enumerate(zip(begin, size, strict=True)):
        start = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


def _crop(call: Call) -> Tensor:
    x, (top, bottom), (left, right) = call.tensor("x"), call.integers("crop_height"), call.integers("crop_width")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _pad(call: Call) -> Tensor:
    x, amounts, mode = call.tensor("x"), call.integers("pad"), call.text("mode", "constant")
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if mode == "constant":
        flat = [amount for pair in reversed(pairs) for amount in pair]
        return functional.pad(x, flat, value=call.number("constant_val", 0.0))
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        if before or after:
            x = x.index_select(axis, _border(x.shape[axis], before, after, reflect=mode == "reflect"))
    return x


def _border(size: int, before: int, after: int, *, reflect: bool) -> Tensor:
    """Returns which element each position of a padded axis repeats."""
    position = torch.arange(-before, size + after)
    if not reflect:
        return position.clamp(0, size - 1)
    position = position.abs()  # mirrored at the first element, then at the last
    return torch.where(position > size - 1, 2 * (size - 1) - position, position)


def _band_part(call: Call) -> Tensor:
    """Zeros outside a band around the diagonal of the last two dimensions."""
    x, lower, upper = call.tensor("x"), call.integer("lower", -1), call.integer("upper", -1)
    row, column = torch.arange(x.shape[-2]).unsqueeze(1), torch.arange(x.shape[-1]).unsqueeze(0)
    inside = torch.ones(x.shape[-2:], dtype=torch.bool)
    if lower >= 0:
        inside &= row - column <= lower
    if upper >= 0:
        inside &= column - row <= upper
    return torch.where(inside, x, torch.zeros((), dtype=x.dtype))


OPERATORS: dict[str, Kernel] = {
    "band_part": _band_part,
    "crop": _crop,
    "pad": _pad,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
}
"""By operator type."""
