"""Bicubic, antialiased and nearest resizing with fixed weights.

Each is a linear function of every axis by itself: its matrix is what it makes of the unit vectors. Enlarging by a whole
factor repeats the same few weights, so there it is a small depthwise convolution for each phase instead of a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor

_REACH = 3
"""Input pixels on each side that a phase of bicubic enlarging may read: two, and one for its own shift."""


def resize(call: Call) -> Function | None:
    """Writes resizing as a product with a fixed matrix for each axis, or as fixed convolutions."""
    factors = _whole_factors(call)
    if factors is not None and not call["align_corners"]:
        kernels = [_kernels(call, axis, factor) for axis, factor in enumerate(factors)]
        return lambda x: _enlarged(_enlarged(x, 2, kernels[0]), 3, kernels[1])
    rows, columns = (_matrix(call, axis) for axis in (0, 1))
    return lambda x: rows @ x @ columns.transpose(0, 1)


def nearest(call: Call) -> Function | None:
    """Writes nearest resizing as a choice of rows and columns; by a whole factor every format has it itself.

    (LiteRT's kernel rounds the places in another way than torch where the factor is none.)
    """
    import torch

    pairs = zip(call.result_shape[2:], call.shape("input" if "input" in call.arguments else "self")[2:], strict=True)
    if "exact" not in str(call.operator) and all(new % old == 0 for new, old in pairs):
        return None
    spatial = len(call.result_shape) - 2
    places = [_matrix(call, axis).argmax(1) for axis in range(spatial)]

    def chosen(x: Tensor) -> Tensor:
        for axis, place in enumerate(places):
            x = torch.index_select(x, axis + 2, place)
        return x

    return chosen


def _matrix(call: Call, axis: int) -> Tensor:
    """Returns the matrix (output size, input size) of one axis: what the operator makes of the axis's unit vectors.

    The other axes have two pixels: with one, torch's antialiasing takes another way and gives other weights.
    """
    import torch

    sizes = call.shape("input" if "input" in call.arguments else "self")[2:]
    size, spatial = sizes[axis], len(sizes)
    line = [size if other == axis else 1 for other in range(spatial)]
    plane = [size if other == axis else 2 for other in range(spatial)]
    units = torch.eye(size).view(1, size, *line).expand(1, size, *plane).contiguous()
    arguments = {**call.arguments, next(iter(call.arguments)): units}
    if arguments.get("output_size") is not None:
        arguments["output_size"] = [call.result_shape[o + 2] if o == axis else 2 for o in range(spatial)]
    for name in ("scales", "scales_h", "scales_w"):
        if arguments.get(name) is not None:
            arguments[name] = call.result_shape[axis + 2] / size if _axis_of(name, spatial) == axis else 1.0
    if arguments.get("scale_factors") is not None:
        arguments["scale_factors"] = [f if o == axis else 1.0 for o, f in enumerate(call["scale_factors"])]
    lines = call.operator(**arguments)[0]
    for other in reversed(range(spatial)):
        if other != axis:
            lines = lines.select(other + 1, 0)
    return lines.transpose(0, 1).contiguous()


def _axis_of(name: str, spatial: int) -> int:
    return 0 if name == "scales_h" and spatial == 2 else spatial - 1


def _whole_factors(call: Call) -> list[int] | None:
    """Returns by how much each axis is enlarged, None unless all are whole numbers of two to eight."""
    if "bicubic" not in str(call.operator) or "_aa" in str(call.operator):
        return None
    sizes = call.shape("input" if "input" in call.arguments else "self")[2:]
    pairs = list(zip(call.result_shape[2:], sizes, strict=True))
    if any(new % old or not 2 <= new // old <= 8 or old < 2 * _REACH + 1 for new, old in pairs):
        return None
    return [new // old for new, old in pairs]


def _kernels(call: Call, axis: int, factor: int) -> Tensor:
    """Returns the weights (factor, 2 * _REACH + 1) of the phases of an axis, read off the middle of its matrix."""
    matrix = _matrix(call, axis)
    middle = matrix.shape[1] // 2
    return matrix[middle * factor : (middle + 1) * factor, middle - _REACH : middle + _REACH + 1].contiguous()


def _enlarged(x: Tensor, axis: int, kernels: Tensor) -> Tensor:
    """Returns `x` (N, C, H, W) with an axis enlarged: a convolution for all phases, which are then put in turn."""
    import torch

    factor, taps = kernels.shape
    channels, along = x.shape[1], axis == 2
    widths = (0, 0, _REACH, _REACH) if along else (_REACH, _REACH, 0, 0)
    shape = (factor, 1, taps, 1) if along else (factor, 1, 1, taps)
    padded = torch.nn.functional.pad(x, widths, mode="replicate")
    weight = kernels.reshape(shape).repeat(channels, 1, 1, 1)
    phases = torch.conv2d(padded, weight, groups=channels)
    n, height, width = x.shape[0], x.shape[2], x.shape[3]
    phases = phases.reshape(n, channels, factor, height, width)
    if along:
        return phases.permute(0, 1, 3, 2, 4).reshape(n, channels, height * factor, width)
    return phases.permute(0, 1, 3, 4, 2).reshape(n, channels, height, width * factor)
