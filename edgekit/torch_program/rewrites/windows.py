"""Sliding windows: cut out as a gather, and added up again as a transposed convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def frames(call: Call) -> Function | None:
    """Writes `tensor.unfold(axis, size, step)` as a choice of places: (..., windows, ..., size)."""
    import torch

    rank, size, step = len(call.shape("self")), int(call["size"]), int(call["step"])
    axis = int(call["dimension"]) % rank
    count = call.result_shape[axis]
    places = (torch.arange(count)[:, None] * step + torch.arange(size)).reshape(-1)

    def cut(x: Tensor) -> Tensor:
        chosen = torch.index_select(x, axis, places)
        split = chosen.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
        return split.movedim(axis + 1, -1)

    return cut


def fold(call: Call) -> Function | None:
    """Writes `fold` as a transposed convolution with kernels that each set one place of the window."""
    import torch

    shape, result = call.shape("self"), call.result_shape
    height, width = (int(size) for size in call["kernel_size"])
    dilation, padding, stride = ([int(size) for size in call[name]] for name in ("dilation", "padding", "stride"))
    if len(shape) != 3:
        return None
    spans = [dilation[i] * (kernel - 1) for i, kernel in enumerate((height, width))]
    counts = [(result[i + 2] + 2 * padding[i] - spans[i] - 1) // stride[i] + 1 for i in (0, 1)]
    left_over = [result[i + 2] - ((counts[i] - 1) * stride[i] - 2 * padding[i] + spans[i] + 1) for i in (0, 1)]
    channels = shape[1] // (height * width)
    kernels = torch.eye(height * width).reshape(height * width, 1, height, width)

    def added(x: Tensor) -> Tensor:
        # The channels of a group become a batch: one kernel set serves all of them.
        windows = x.reshape(shape[0] * channels, height * width, *counts)
        made = torch.nn.functional.conv_transpose2d(windows, kernels, None, stride, padding, left_over, 1, dilation)
        return made.reshape(result)

    return added
