"""Resize and GridSample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def _sizes_and_scales(node: Node) -> tuple[list[int], list[float]]:
    """Returns output size and scale of every axis."""
    shape = node.shape()
    axes = [int(axis) % node.rank() for axis in node.number("axes", range(node.rank()))]
    sizes, scales = list(shape), [1.0] * node.rank()
    if node.has(3) and node.inputs[3].numel():
        if node.number("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise UnsupportedError("its keep_aspect_ratio_policy is not stretch")
        for axis, size in zip(axes, node.integers(3, "sizes"), strict=True):
            sizes[axis], scales[axis] = size, size / shape[axis]
    else:
        for axis, scale in zip(axes, node.constant(2, "scales").tolist(), strict=True):
            sizes[axis], scales[axis] = int(shape[axis] * scale), float(scale)
    node.baked.update(range(1, len(node.inputs)))
    return sizes, scales


def _coordinates(mode: str, size: int, out: int, scale: float) -> NDArray[np.float64]:
    """Returns where each output index lies on the input axis, float64 (out,).

    Raises:
        UnsupportedError: a mode that crops.
    """
    import numpy as np

    index = np.arange(out, dtype=np.float64)
    if mode == "half_pixel":
        return (index + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (index + 0.5) / scale - 0.5 if out > 1 else np.zeros(out)
    if mode == "align_corners":
        return index * (size - 1) / (out - 1) if out > 1 else np.zeros(out)
    if mode == "asymmetric":
        return index / scale
    if mode == "half_pixel_symmetric":
        adjusted = out / (scale * size)
        return (size / 2) * (1 - adjusted) + (index + 0.5) / scale - 0.5
    raise UnsupportedError(f'its coordinate_transformation_mode is "{mode}"')


def _nearest(coordinates: NDArray[np.float64], mode: str, size: int) -> NDArray[np.int64]:
    """Returns the input index of each output index, int64 (out,)."""
    import numpy as np

    rounded = {
        "round_prefer_floor": np.ceil(coordinates - 0.5),
        "round_prefer_ceil": np.floor(coordinates + 0.5),
        "floor": np.floor(coordinates),
        "ceil": np.ceil(coordinates),
    }[mode]
    return np.clip(rounded, 0, size - 1).astype(np.int64)


def _matrix(coordinates: NDArray[np.float64], size: int, mode: str, a: float) -> NDArray[np.float64]:
    """Returns the interpolation as a matrix (out, size): rows sum to 1, what lies outside repeats the edge."""
    import numpy as np

    out = len(coordinates)
    matrix = np.zeros((out, size))
    base = np.floor(coordinates)
    for tap in range(-1, 3) if mode == "cubic" else range(2):
        distance = np.abs(coordinates - (base + tap))
        if mode == "linear":
            weight = np.maximum(0.0, 1 - distance)
        else:
            # Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 4 with parameter a.
            near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
            far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
            weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(matrix, (np.arange(out), np.clip(base + tap, 0, size - 1).astype(int)), weight)
    return matrix


def _resize(node: Node) -> Function:
    if node.number("antialias", 0) or node.number("exclude_outside", 0):
        raise UnsupportedError("it has antialias or exclude_outside")
    sizes, scales = _sizes_and_scales(node)
    mode = node.number("mode", "nearest")
    transform = node.number("coordinate_transformation_mode", "half_pixel")
    changed = [axis for axis in range(node.rank()) if sizes[axis] != node.shape()[axis] or scales[axis] != 1.0]
    coordinates = {axis: _coordinates(transform, node.shape()[axis], sizes[axis], scales[axis]) for axis in changed}
    if mode == "nearest":
        return _resize_nearest(node, sizes, coordinates)
    # torch works with input and output size alone, so a scale that is not their ratio needs the general way.
    exact = all(abs(scales[axis] * node.shape()[axis] - sizes[axis]) < 1e-6 for axis in changed)
    return _resize_smooth(node, sizes, coordinates, exact=exact)


def _resize_nearest(node: Node, sizes: Sequence[int], coordinates: Mapping[int, NDArray[np.float64]]) -> Function:
    import numpy as np
    import torch

    rounding = node.number("nearest_mode", "round_prefer_floor")
    shape = node.shape()
    indices = {axis: _nearest(where, rounding, shape[axis]) for axis, where in coordinates.items()}
    # torch takes floor(i * in / out): where that is the same, runtimes have a kernel for it.
    plain = all(
        axis >= 2 and np.array_equal(places, np.arange(sizes[axis]) * shape[axis] // sizes[axis])
        for axis, places in indices.items()
    )
    if plain and node.rank() in (3, 4, 5):
        return lambda x, *_: torch.nn.functional.interpolate(x, size=list(sizes[2:]), mode="nearest")
    picks = {axis: torch.from_numpy(places) for axis, places in indices.items()}

    def run(x: Tensor, *_: object) -> Tensor:
        for axis, places in picks.items():
            x = x.index_select(axis, places)
        return x

    return run


def _resize_smooth(
    node: Node, sizes: Sequence[int], coordinates: Mapping[int, NDArray[np.float64]], *, exact: bool
) -> Function:
    import torch

    shape = node.shape()
    mode, transform = node.number("mode", "linear"), node.number("coordinate_transformation_mode", "half_pixel")
    known = transform in ("half_pixel", "align_corners", "pytorch_half_pixel") and min(sizes[2:], default=0) > 1
    cubic_a = node.number("cubic_coeff_a", -0.75)
    if (
        node.rank() == 4
        and exact
        and known
        and min(coordinates, default=2) >= 2
        and (mode == "linear" or cubic_a == -0.75)
    ):
        name = "bilinear" if mode == "linear" else "bicubic"
        corners = transform == "align_corners"
        return lambda x, *_: torch.nn.functional.interpolate(x, size=list(sizes[2:]), mode=name, align_corners=corners)
    matrices = {
        axis: torch.from_numpy(_matrix(where, shape[axis], mode, cubic_a)).to(node.inputs[0].dtype)
        for axis, where in coordinates.items()
    }

    def run(x: Tensor, *_: object) -> Tensor:
        for axis, matrix in matrices.items():
            x = torch.nn.functional.linear(x.movedim(axis, -1), matrix).movedim(-1, axis)
        return x

    return run


def _grid_sample(node: Node) -> Function:
    import torch

    given = str(node.number("mode", "linear"))
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(given, given)
    padding, corners = node.number("padding_mode", "zeros"), bool(node.number("align_corners", 0))
    return lambda x, grid: torch.nn.functional.grid_sample(x, grid, mode, padding, corners)


OPERATORS: Final[Mapping[str, Builder]] = {"Resize": _resize, "GridSample": _grid_sample}
"""Operator type to builder."""
