"""Pooling that not every format has: strides left out, maxima in 3D, adaptive pools, the places of maxima and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function
from edgekit.torch_program.rewrites.convolutions import per_axis

if TYPE_CHECKING:
    from torch import Tensor

_SIZES = ("kernel_size", "stride", "padding")


def with_stride(call: Call) -> Function | None:
    """Writes a stride that was left out: it is the kernel's size. Converters read the argument at its place."""
    if call["stride"]:
        return None
    settings = {name: value for name, value in call.arguments.items() if name != "self"}
    settings["stride"] = settings["kernel_size"]

    def pooled(x: Tensor) -> object:
        return call.operator(x, **settings)

    return pooled


def maxima_over_depth(call: Call) -> Function | None:
    """Writes maximum pooling in 3D as pooling in 2D: over rows and columns, then over depth.

    ExecuTorch has no kernel for it, and TensorFlow Lite's converter crashes on it.
    """
    import torch

    shape, result = call.shape("self"), call.result_shape
    if len(shape) != 5:
        return with_stride(call)
    kernel, stride, padding = (per_axis(call[name] or call["kernel_size"], 3) for name in _SIZES)
    dilation, ceiling = per_axis(call["dilation"], 3), bool(call["ceil_mode"])

    def pooled(x: Tensor) -> Tensor:
        flat = x.reshape(shape[0] * shape[1], *shape[2:])
        rows = (kernel[1:], stride[1:], padding[1:], dilation[1:], ceiling)
        flat = torch.nn.functional.max_pool2d(flat, *rows)
        flat = flat.reshape(*shape[:3], -1)
        depth = ((kernel[0], 1), (stride[0], 1), (padding[0], 0), (dilation[0], 1), ceiling)
        return torch.nn.functional.max_pool2d(flat, *depth).reshape(result)

    return pooled


def adaptive_max(call: Call) -> Function | None:
    """Writes adaptive maximum pooling as the maxima of slices, one axis after the other."""
    import torch

    if 1 in call.read:
        return None
    pooled = _of_bins(call, torch.amax)
    return pooled and (lambda x: (made := pooled(x), torch.zeros(made.shape, dtype=torch.int64)))


def adaptive_mean(call: Call) -> Function | None:
    """Writes adaptive average pooling as the means of slices, one axis after the other: all of a bin weigh alike."""
    import torch

    return _of_bins(call, torch.mean)


def _of_bins(call: Call, reduce: Callable[..., Tensor]) -> Callable[[Tensor], Tensor] | None:
    """Returns a function that reduces the bins of each axis; None for inputs without a batch.

    Bin i of an axis of n pixels reaches from floor(i n / bins) to ceil((i + 1) n / bins).
    """
    import torch

    shape, bins = call.shape("self"), [int(size) for size in call["output_size"]]
    bins = bins * (len(shape) - 2) if len(bins) == 1 else bins
    if len(shape) != len(bins) + 2:
        return None

    def pooled(x: Tensor) -> Tensor:
        for axis, count in enumerate(bins, start=2):
            size = x.shape[axis]
            edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
            slices = [x if b - a == size else x.narrow(axis, a, b - a) for a, b in edges]
            parts = [reduce(part, axis, keepdim=True) for part in slices]
            x = parts[0] if count == 1 else torch.cat(parts, axis)
        return x

    return pooled


def max_with_places(call: Call) -> Function | None:
    """Writes maximum pooling whose places are read as the maxima of windows that are cut out.

    The place of a maximum is its row and column in the unpadded image: y width + x.
    """
    import torch

    shape, result = call.shape("self"), call.result_shape
    kernel, stride, padding = (per_axis(call[name] or call["kernel_size"], 2) for name in _SIZES)
    if len(shape) != 4 or 1 not in call.read or per_axis(call["dilation"], 2) != [1, 1] or call["ceil_mode"]:
        return None
    inside = torch.arange(kernel[0] * kernel[1])
    rows = torch.arange(result[2]).repeat_interleave(result[3]) * stride[0] - padding[0]
    columns = torch.arange(result[3]).repeat(result[2]) * stride[1] - padding[1]
    places = (inside // kernel[1])[:, None] + rows, (inside % kernel[1])[:, None] + columns
    numbers = (places[0] * shape[3] + places[1]).float()

    def pooled(x: Tensor) -> tuple[Tensor, ...]:
        if any(padding):
            lowest = torch.finfo(x.dtype).min
            x = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=lowest)
        windows = torch.nn.functional.unfold(x, (kernel[0], kernel[1]), stride=(stride[0], stride[1]))
        windows = windows.reshape(*shape[:2], kernel[0] * kernel[1], -1)
        values = windows.amax(2, keepdim=True)
        first = windows.argmax(2, keepdim=True)
        chosen = (first == inside[:, None]).float() * numbers
        return values.reshape(result), chosen.sum(2).to(torch.int64).reshape(result)

    return pooled


def max_unpool(call: Call) -> Function | None:
    """Writes the inverse of maximum pooling as a scatter into zeros."""
    import torch

    shape = call.result_shape
    if len(call.shape("self")) != 4:
        return None

    def unpooled(x: Tensor, places: Tensor) -> Tensor:
        zeros = torch.zeros((*shape[:2], shape[2] * shape[3]), dtype=x.dtype)
        return zeros.scatter(2, places.flatten(2), x.flatten(2)).reshape(shape)

    return unpooled
