"""Padding that not every format has: `padding="same"` of convolutions, circular padding, negative widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function
from edgekit.torch_program.rewrites.convolutions import per_axis

if TYPE_CHECKING:
    from torch import Tensor


def convolution_of_words(call: Call) -> Function | None:
    """Writes `padding="same"` and `"valid"` of a convolution as numbers, with a pad before it where sides differ.

    torch pads dilation x (kernel - 1) in all, half of it rounded down on the left.
    """
    import torch

    kernel = call.shape("weight")[2:]
    rank, groups = len(kernel), call["groups"]
    stride, dilation = (per_axis(call[name], rank) for name in ("stride", "dilation"))
    total = [d * (k - 1) if call["padding"] == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    left = [size // 2 for size in total]
    uneven = [size - 2 * half for size, half in zip(total, left, strict=True)]
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if any(uneven):
            x = torch.nn.functional.pad(x, [side for size in reversed(uneven) for side in (0, size)])
        return convolve(x, weight, bias, stride, left, dilation, groups)

    return convolution


def pad(call: Call) -> Function | None:
    """Writes circular padding as slices that are joined, and negative widths of constant padding as a slice."""
    import torch

    widths, mode = [int(width) for width in call["pad"]], call.arguments.get("mode", "constant")
    rank = len(call.shape("self" if "self" in call.arguments else "input"))
    sides = [(rank - 1 - i // 2, widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
    if mode == "circular":
        return lambda x: _wrapped(x, sides)
    if mode != "constant" or min(widths) >= 0:
        return None
    value = call["value"] or 0.0

    def cut(x: Tensor) -> Tensor:
        for axis, before, after in sides:
            size = x.shape[axis] + min(before, 0) + min(after, 0)
            x = x.narrow(axis, max(-before, 0), size)
        kept = [max(width, 0) for width in widths]
        return torch.nn.functional.pad(x, kept, value=value) if any(kept) else x

    return cut


def _wrapped(x: Tensor, sides: list[tuple[int, int, int]]) -> Tensor:
    import torch

    for axis, before, after in sides:
        size = x.shape[axis]
        parts = [
            *([x.narrow(axis, size - before, before)] if before > 0 else []),
            x.narrow(axis, max(-before, 0), size + min(before, 0) + min(after, 0)),
            *([x.narrow(axis, 0, after)] if after > 0 else []),
        ]
        x = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
    return x
