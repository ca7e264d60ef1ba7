"""Operators that move elements without changing them: shapes, joins, splits, blocks."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel
from edgekit.validators.coreml_evaluator.operators.padding import pad_spatial

FIRST_RIGHT_ALIGNED_OPSET = 7
"""From iOS 17 on a 0 in `reshape`'s shape stands for the dimension counted from the right."""


def _reshape(call: Call) -> Tensor:
    x, shape = call.tensor("x"), call.integers("shape")
    shift = len(shape) - x.dim() if call.machine.opset >= FIRST_RIGHT_ALIGNED_OPSET else 0
    inherited = [1] * max(shift, 0) + list(x.shape[max(-shift, 0) :])
    return x.reshape([size or inherited[axis] for axis, size in enumerate(shape)])


def _reshape_like(call: Call) -> Tensor:
    shape: list[int] = []
    begins, ends, masks = call.tensors("begins"), call.tensors("ends"), call.tensors("end_masks")
    for reference, begin, end, mask in zip(call.tensors("ref_tensors"), begins, ends, masks, strict=True):
        stop = None if bool(mask.item()) else int(end.item())
        shape.extend(reference.shape[int(begin.item()) : stop])
    return call.tensor("x").reshape(shape)


def _expand_dims(call: Call) -> Tensor:
    x, axes = call.tensor("x"), call.integers("axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(call: Call) -> Tensor:
    x = call.tensor("x")
    return x.squeeze(tuple(call.integers("axes"))) if call.has("axes") else x.squeeze()


def _flatten2d(call: Call) -> Tensor:
    x, axis = call.tensor("x"), call.integer("axis", 1)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def _concat(call: Call) -> Tensor:
    values, axis = call.tensors("values"), call.integer("axis", 0)
    if values[0].dim() == 0:
        return torch.stack(values)
    if not call.flag("interleave", default=False):
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def _split(call: Call) -> list[Tensor]:
    x, axis = call.tensor("x"), call.integer("axis", 0)
    if call.has("split_sizes"):
        return list(torch.split(x, call.integers("split_sizes"), axis))
    return list(torch.split(x, x.shape[axis] // call.integer("num_splits", 1), axis))


def _stack(call: Call) -> Tensor:
    return torch.stack(call.tensors("values"), call.integer("axis", 0))


def _tile(call: Call) -> Tensor:
    return call.tensor("x").repeat(call.integers("reps"))


def _reverse(call: Call) -> Tensor:
    x = call.tensor("x")
    return x.flip(call.integers("axes", range(x.dim())))


def _reverse_sequence(call: Call) -> Tensor:
    """Reverses the first `lengths[i]` elements along `seq_axis` of the i-th slice along `batch_axis`."""
    x, lengths = call.tensor("x"), call.tensor("lengths").long()
    x = x.movedim((call.integer("batch_axis", 0), call.integer("seq_axis", 0)), (0, 1))
    position = torch.arange(x.shape[1]).unsqueeze(0)
    length = lengths.unsqueeze(1)
    source = torch.where(position < length, length - 1 - position, position)
    result = x[torch.arange(x.shape[0]).unsqueeze(1), source]
    return result.movedim((0, 1), (call.integer("batch_axis", 0), call.integer("seq_axis", 0)))


def _sliding_windows(call: Call) -> Tensor:
    x = call.tensor("x")
    axis = call.integer("axis", 0) % x.dim()
    windows = x.unfold(axis, call.integer("size", 1), call.integer("stride", 1))
    return windows.movedim(-1, axis + 1)


def _depth_to_space(call: Call) -> Tensor:
    """As TensorFlow does: the block's row and column are the slowest parts of the channel index."""
    x, block = call.tensor("x"), call.integer("block_size", 1)
    batch, channels, height, width = x.shape
    split = x.reshape(batch, block, block, channels // block**2, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * block, width * block)


def _space_to_depth(call: Call) -> Tensor:
    x, block = call.tensor("x"), call.integer("block_size", 1)
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels, height // block, block, width // block, block)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


def _space_to_batch(call: Call) -> Tensor:
    x, (rows, columns) = call.tensor("x"), call.integers("block_shape")
    top, bottom, left, right = call.integers("paddings")
    x = pad_spatial(x, [(top, bottom), (left, right)])
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return split.permute(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // rows, width // columns)


def _batch_to_space(call: Call) -> Tensor:
    x, (rows, columns) = call.tensor("x"), call.integers("block_shape")
    top, bottom, left, right = call.integers("crops")
    total, channels, height, width = x.shape
    batch = total // (rows * columns)
    split = x.reshape(rows, columns, batch, channels, height, width)
    whole = split.permute(2, 3, 4, 0, 5, 1).reshape(batch, channels, height * rows, width * columns)
    return whole[:, :, top : height * rows - bottom, left : width * columns - right]


def _pixel_shuffle(call: Call) -> Tensor:
    return functional.pixel_shuffle(call.tensor("x"), call.integer("upscale_factor", 1))


def _pixel_unshuffle(call: Call) -> Tensor:
    return functional.pixel_unshuffle(call.tensor("x"), call.integer("downscale_factor", 1))


OPERATORS: dict[str, Kernel] = {
    "batch_to_space": _batch_to_space,
    "concat": _concat,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "flatten2d": _flatten2d,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "reshape_like": _reshape_like,
    "reverse": _reverse,
    "reverse_sequence": _reverse_sequence,
    "shape": lambda call: torch.tensor(call.tensor("x").shape, dtype=torch.int32),
    "sliding_windows": _sliding_windows,
    "space_to_batch": _space_to_batch,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": lambda call: call.tensor("x").permute(call.integers("perm")),
}
"""By operator type."""
