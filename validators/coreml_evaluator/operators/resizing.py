"""Resizing of the last dimensions on a regular grid."""

from __future__ import annotations

from math import floor

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def sampling_grid(size: float, count: int, mode: str) -> Tensor:
    """Returns where `count` samples lie in an interval of `size` elements, before clamping to `[0, size - 1]`.

    Formulas of coremltools' documentation of `resize_bilinear`.

    Args:
        size: Elements of the input along the axis.
        count: Samples.
        mode: `sampling_mode`.

    Returns:
        Positions, float32, shape `(count,)`.
    """
    step = torch.arange(count, dtype=torch.float32)
    if mode == "ALIGN_CORNERS" and count == 1:
        return torch.tensor([(size - 1) / 2])
    if mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        return step * ((size - 1) / max(count - 1, 1))
    if mode == "OFFSET_CORNERS":
        return (step + 0.5) * (max(1.0, size - 1) / count)
    if mode == "UNALIGN_CORNERS":
        return (step + 0.5) * (size / count) - 0.5
    return step * (size / count)  # DEFAULT: (size - size / count) / (count - 1) is size / count


def interpolate(x: Tensor, axis: int, grid: Tensor) -> Tensor:
    """Returns `x` sampled along one axis at fractional positions, linearly, clamped to the ends."""
    size = x.shape[axis]
    grid = grid.clamp(0, size - 1)
    low = grid.floor()
    weight = (grid - low).reshape([-1 if other == axis % x.dim() else 1 for other in range(x.dim())])
    below = low.long()
    above = (below + 1).clamp(max=size - 1)
    return x.index_select(axis, below) * (1 - weight) + x.index_select(axis, above) * weight


def _nearest_centre(x: Tensor, axis: int, count: int) -> Tensor:
    """Samples the element that holds each output's centre (TensorFlow's half-pixel centres)."""
    source = ((torch.arange(count) + 0.5) * (x.shape[axis] / count)).floor().long()
    return x.index_select(axis, source.clamp(max=x.shape[axis] - 1))


def _resize_bilinear(call: Call) -> Tensor:
    x, mode = call.tensor("x"), call.text("sampling_mode", "DEFAULT")
    for axis, parameter in ((-2, "target_size_height"), (-1, "target_size_width")):
        x = interpolate(x, axis, sampling_grid(x.shape[axis], call.integer(parameter, 1), mode))
    return x


def _resize_nearest_neighbor(call: Call) -> Tensor:
    x = _nearest_centre(call.tensor("x"), -2, call.integer("target_size_height", 1))
    return _nearest_centre(x, -1, call.integer("target_size_width", 1))


def _resize(call: Call) -> Tensor:
    """Resizes the last `resized_dims` dimensions to the last sizes of `shape`; 0 keeps a size."""
    x, shape, count = call.tensor("x"), call.integers("shape"), call.integer("resized_dims", 0)
    mode = call.text("sampling_mode", "DEFAULT")
    for axis in range(-count, 0):
        target = shape[axis] or x.shape[axis]
        if call.text("interpolation_mode", "LINEAR") == "LINEAR":
            x = interpolate(x, axis, sampling_grid(x.shape[axis], target, mode))
        else:
            x = _nearest_centre(x, axis, target)
    return x


def _upsample_bilinear(call: Call) -> Tensor:
    x, align = call.tensor("x"), call.flag("align_corners", default=True)
    half_pixel = call.flag("half_pixel_centers", default=not align)
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    for axis, parameter in ((-2, "scale_factor_height"), (-1, "scale_factor_width")):
        count = floor(x.shape[axis] * call.number(parameter, 1.0))
        x = interpolate(x, axis, sampling_grid(x.shape[axis], count, mode))
    return x


def _upsample_nearest_neighbor(call: Call) -> Tensor:
    x = call.tensor("x")
    for axis, parameter in ((-2, "scale_factor_height"), (-1, "scale_factor_width")):
        size = x.shape[axis]
        count = floor(size * call.number(parameter, 1.0))
        x = x.index_select(axis, torch.arange(count) * size // count)
    return x


def undocumented_variant(interpolation: str, sampling: str, dtype: str) -> str | None:
    """Returns the name of a variant of `resize` of which no source says what it computes, None for the others."""
    if interpolation == "NEAREST_NEIGHBOR" and sampling != "DEFAULT":
        return f"resize (interpolation_mode=NEAREST_NEIGHBOR, sampling_mode={sampling})"
    if interpolation == "LINEAR" and dtype == "int32":
        return "resize (interpolation_mode=LINEAR of int32)"
    return None


OPERATORS: dict[str, Kernel] = {
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest_neighbor,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest_neighbor,
}
"""By operator type."""
