"""Sampling of images at arbitrary positions: regions of interest, coordinates, affine maps."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel
from edgekit.validators.coreml_evaluator.operators.resizing import interpolate, sampling_grid

FIRST_BOXES_OPSET = 7
"""From iOS 17 on `crop_resize` takes `boxes` and `box_indices` instead of `roi`."""


def _crop_resize(call: Call) -> Tensor:
    x = call.tensor("x")
    if call.machine.opset >= FIRST_BOXES_OPSET:
        boxes = call.tensor("boxes").float()
        images = call.integers("box_indices", range(boxes.shape[0]))
        return torch.stack([_crop(call, x[image], box) for image, box in zip(images, boxes, strict=True)])
    roi = call.tensor("roi").float().flatten(1)
    if roi.shape[1] == 5:  # the first element names the image
        crops = [_crop(call, x[int(row[0].item())], row[1:]).unsqueeze(0) for row in roi]
    else:
        crops = [torch.stack([_crop(call, image, row) for image in x]) for row in roi]
    return torch.stack(crops)


def _crop(call: Call, image: Tensor, box: Tensor) -> Tensor:
    """Returns one region of one image `(C, H, W)`, resized."""
    corners, mode = _corners(call, box, image), call.text("sampling_mode", "DEFAULT")
    outside: list[Tensor] = []
    for axis, parameter, (start, end) in ((-2, "target_height", corners[0]), (-1, "target_width", corners[1])):
        count, size = call.integer(parameter, 1), image.shape[axis]
        if end < start and "ALIGN_CORNERS" not in mode.replace("UNALIGN", ""):
            raise ArtifactError(
                f'Operator crop_resize "{call.operation.name}" got a box from {start:g} to {end:g} with sampling mode '
                f"{mode}: what a box that runs backwards gives in this mode is not documented. Check the model's boxes."
            )
        grid = start + sampling_grid(end - start + 1, count, mode)
        outside.append((grid < 0) | (grid > size - 1))
        image = interpolate(image, axis, grid)
    hidden = outside[0].unsqueeze(1) | outside[1].unsqueeze(0)
    return torch.where(hidden, torch.tensor(call.number("pad_value", 0.0)), image)


def _corners(call: Call, box: Tensor, image: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns (first row, last row) and (first column, last column), in elements."""
    mode = call.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST")
    values: list[float] = (box * call.number("spatial_scale", 1.0)).tolist()
    first, second, third, fourth = values
    if mode.startswith("CENTER_SIZE"):
        first, second, third, fourth = (
            first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2
        )  # fmt: skip
    rows, columns = (first, third), (second, fourth)
    if mode.endswith("WIDTH_FIRST"):
        rows, columns = columns, rows
    if call.flag("normalized_coordinates", default=False):
        height, width = image.shape[-2] - 1, image.shape[-1] - 1
        rows, columns = (rows[0] * height, rows[1] * height), (columns[0] * width, columns[1] * width)
    return rows, columns


def _resample(call: Call) -> Tensor:
    x, coordinates = call.tensor("x"), call.tensor("coordinates").float()
    mode, align = call.text("coordinates_mode", "unnormalized"), call.flag("align_corners", default=True)
    column = _to_elements(coordinates[..., 0], x.shape[-1], mode, align=align)
    row = _to_elements(coordinates[..., 1], x.shape[-2], mode, align=align)
    padding = call.text("padding_mode", "constant")
    row, column = _folded(row, x.shape[-2], padding), _folded(column, x.shape[-1], padding)
    border = call.number("padding_value", 0.0)
    if call.text("sampling_mode", "bilinear") == "nearest":
        return _taps(x, row.round(), column.round(), border)
    return _bilinear(x, row, column, border)


def _affine(call: Call) -> Tensor:
    """Samples at `matrix @ (x, y, 1)`, coordinates from -1 to 1 at the corner pixels' centres, zeros outside."""
    x, matrix = call.tensor("x"), call.tensor("transform_matrix")
    height, width = call.integer("output_height", 1), call.integer("output_width", 1)
    rows = torch.linspace(-1, 1, height) if height > 1 else torch.zeros(1)
    columns = torch.linspace(-1, 1, width) if width > 1 else torch.zeros(1)
    y, x_position = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x_position, y, torch.ones_like(y)], -1)
    mapped = torch.einsum("hwk,nok->nhwo", points, matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3))
    column = _to_elements(mapped[..., 0], x.shape[-1], "normalized_minus_one_to_one", align=True)
    row = _to_elements(mapped[..., 1], x.shape[-2], "normalized_minus_one_to_one", align=True)
    return _bilinear(x, row, column, call.number("padding_value", 0.0))


def _to_elements(position: Tensor, size: int, mode: str, *, align: bool) -> Tensor:
    """Returns positions counted in elements, 0 at the centre of the first."""
    if mode == "unnormalized":
        return position
    unit = position if mode == "normalized_zero_to_one" else (position + 1) / 2
    return unit * (size - 1) if align else unit * size - 0.5


def _folded(position: Tensor, size: int, padding: str) -> Tensor:
    """Returns positions brought into the image as `padding_mode` says; `constant` leaves them outside."""
    if padding == "constant":
        return position
    if padding == "border" or size == 1:
        return position.clamp(0, size - 1)
    # Mirrors stand at the centres of the border elements (reflection), or at their outer edges (symmetric).
    low, span = (0.0, size - 1.0) if padding == "reflection" else (-0.5, float(size))
    offset = torch.remainder(position - low, 2 * span)
    return (torch.where(offset > span, 2 * span - offset, offset) + low).clamp(0, size - 1)


def _bilinear(x: Tensor, row: Tensor, column: Tensor, border: float) -> Tensor:
    top, left = row.floor(), column.floor()
    down, right = (row - top).unsqueeze(1), (column - left).unsqueeze(1)
    upper = _taps(x, top, left, border) * (1 - right) + _taps(x, top, left + 1, border) * right
    lower = _taps(x, top + 1, left, border) * (1 - right) + _taps(x, top + 1, left + 1, border) * right
    return upper * (1 - down) + lower * down


def _taps(x: Tensor, row: Tensor, column: Tensor, border: float) -> Tensor:
    """Returns the elements at whole positions `(N, H, W)` of images `(N, C, h, w)`, `border` outside."""
    height, width = x.shape[-2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    rows, columns = row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()
    image = torch.arange(x.shape[0]).reshape(-1, 1, 1)
    picked = x[image, :, rows, columns].permute(0, 3, 1, 2)
    return torch.where(inside.unsqueeze(1), picked, torch.tensor(border))


OPERATORS: dict[str, Kernel] = {"affine": _affine, "crop_resize": _crop_resize, "resample": _resample}
"""By operator type."""
