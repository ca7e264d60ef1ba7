"""Norms in single operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor


def rms_norm(call: Call) -> Function | None:
    """Writes RMS norm as x / sqrt(mean(x^2) + eps) * weight."""
    import torch

    axes = list(range(-len(call["normalized_shape"]), 0))
    epsilon = torch.finfo(call["input"].dtype).eps if call["eps"] is None else call["eps"]

    def norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
        scaled = x * torch.rsqrt(x.pow(2).mean(axes, keepdim=True) + epsilon)
        return scaled if weight is None else scaled * weight

    return norm


def norm_of_volumes(call: Call) -> Function | None:
    """Writes a group or instance norm over volumes as one over images: Core ML's have no axis for the depth.

    The statistics are over all pixels of a group, however these lie.
    """
    import torch

    shape = call.shape("input")
    if len(shape) < 5:
        return None
    given = [name for name, value in call.arguments.items() if isinstance(value, torch.Tensor)]
    settings = {name: value for name, value in call.arguments.items() if name not in given}

    def norm(x: Tensor, *affine: Tensor) -> Tensor:
        tensors = dict(zip(given, (x.reshape(*shape[:3], -1), *affine), strict=True))
        made: Tensor = call.operator(**tensors, **settings)
        return made.reshape(shape)

    return norm


def average_over_depth(call: Call) -> Function | None:
    """Writes average pooling in 3D as pooling in 2D: over rows and columns, then over depth.

    Local response norms average over channels like this, with one row and one column.
    """
    import torch

    axes = {name: [int(size) for size in call[name]] for name in ("kernel_size", "stride", "padding")}
    axes["stride"] = axes["stride"] or axes["kernel_size"]
    kernel, stride, padding = (
        sizes * 3 if len(sizes) == 1 else sizes for sizes in (axes[k] for k in ("kernel_size", "stride", "padding"))
    )
    shape, result = call.shape("self"), call.result_shape
    whole = not call["ceil_mode"] and call["divisor_override"] is None
    if len(shape) != 5 or not whole or not (call["count_include_pad"] or not any(padding)):
        return None
    n, channels, depth = shape[:3]

    def pooled(x: Tensor) -> Tensor:
        flat = x.reshape(n * channels, depth, *shape[3:])
        if kernel[1:] != [1, 1] or stride[1:] != [1, 1]:
            flat = torch.nn.functional.avg_pool2d(flat, kernel[1:], stride[1:], padding[1:])
        flat = flat.reshape(n, channels, depth, -1)
        flat = torch.nn.functional.avg_pool2d(flat, (kernel[0], 1), (stride[0], 1), (padding[0], 0))
        return flat.reshape(result)

    return pooled
