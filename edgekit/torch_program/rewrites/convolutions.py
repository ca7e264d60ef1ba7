"""Convolutions that some formats hold in part only; their converters rewrite what theirs lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def plain_transposed(call: Call) -> Function | None:
    """Writes a transposed convolution without padding, output padding, dilation and most groups.

    Its whole result is cut to size afterwards: padding of p cuts p from each side, and output padding leaves as much of
    the far side. A dilated kernel is a larger one with zeros between. Groups become convolutions side by side.
    """
    import torch

    rank = len(call.shape("weight")) - 2
    stride, padding, more, dilation = (
        per_axis(call[name], rank) for name in ("stride", "padding", "output_padding", "dilation")
    )
    groups, result = int(call["groups"]), call.result_shape
    uneven = groups > 1 and any(padding)
    if not (any(more) or uneven or max(dilation) > 1):
        return None
    convolve = torch.conv_transpose1d if rank == 1 else torch.conv_transpose2d

    def transposed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        weight = _dilated(weight, dilation)
        parts = zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True)
        made = (
            torch.cat([convolve(a, w, None, stride) for a, w in parts], 1)
            if groups > 1
            else convolve(x, weight, None, stride)
        )
        for axis, (cut, size) in enumerate(zip(padding, result[2:], strict=True), start=2):
            there = min(size, made.shape[axis] - cut)
            made = made.narrow(axis, cut, there)
            if there < size:
                widths = [0] * (2 * (made.ndim - axis))
                widths[-1] = size - there
                made = torch.nn.functional.pad(made, widths)
        return made if bias is None else made + bias.reshape(-1, *(1,) * rank)

    return transposed


def in_planes(call: Call) -> Function | None:
    """Writes a convolution in 3D as the sum of convolutions in 2D, one for each depth of the kernel."""
    import torch

    stride, padding, dilation = (per_axis(call[name], 3) for name in ("stride", "padding", "dilation"))
    shape, result, groups = call.shape("input"), call.result_shape, int(call["groups"])
    if len(shape) != 5:
        return None
    reach = (result[2] - 1) * stride[0] + 1

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, padding[0], padding[0])) if padding[0] else x
        total: Any = None
        for depth in range(weight.shape[2]):
            first = depth * dilation[0]
            planes = x[:, :, first : first + reach : stride[0]].transpose(1, 2).reshape(-1, *(shape[1], *shape[3:]))
            made = torch.conv2d(planes, weight[:, :, depth], None, stride[1:], padding[1:], dilation[1:], groups)
            total = made if total is None else total + made
        whole = total.reshape(result[0], result[2], *result[1:2], *result[3:]).transpose(1, 2)
        return whole if bias is None else whole + bias.reshape(-1, 1, 1, 1)

    return convolution


def narrow_in_planes(call: Call) -> Function | None:
    """Writes a convolution in 3D of one channel a group as `in_planes`: LiteRT's converter ends with a crash on it."""
    return in_planes(call) if call.shape("weight")[1] == 1 else None


def per_axis(value: Tensor, rank: int) -> list[int]:
    """Returns one number for each axis where torch takes one for all as well."""
    sizes = [int(size) for size in value] if isinstance(value, (list, tuple)) else [int(value)]
    return sizes * rank if len(sizes) == 1 else sizes


def _dilated(weight: Tensor, dilation: list[int]) -> Tensor:
    """Returns a kernel with dilation - 1 zeros between its weights."""
    import torch

    for axis, step in enumerate(dilation, start=2):
        size = weight.shape[axis]
        if step > 1 and size > 1:
            apart = weight.unsqueeze(axis + 1)
            widths = [0] * (2 * (apart.ndim - axis - 1))
            widths[-1] = step - 1
            apart = torch.nn.functional.pad(apart, widths).flatten(axis, axis + 1)
            weight = apart.narrow(axis, 0, step * (size - 1) + 1)
    return weight
