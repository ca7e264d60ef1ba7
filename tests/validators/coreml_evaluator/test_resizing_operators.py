"""Resizing and sampling of the Core ML evaluator: torch, and the documented grid formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator import load

RNG = np.random.default_rng(7)
IMAGE = RNG.normal(0, 1, (2, 3, 5, 7)).astype(np.float32)
RAMP = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")
COORDINATES = RNG.uniform(-2.5, 2.5, (2, 4, 6, 2)).astype(np.float32)
MATRIX = np.array([[0.9, -0.2, 0.1, 0.3, 1.2, -0.4]], np.float32)


def t(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def grid(size, count, mode):
    """The formulas of coremltools' documentation, one point at a time."""
    points = []
    for i in range(count):
        if mode == "ALIGN_CORNERS" and count == 1:
            point = (size - 1) / 2
        elif mode.endswith("STRICT_ALIGN_CORNERS") or mode == "ALIGN_CORNERS":
            point = i * (size - 1) / (count - 1) if count > 1 else 0
        elif mode == "DEFAULT":
            point = i * (size - size / count) / (count - 1) if count > 1 else 0
        elif mode == "OFFSET_CORNERS":
            delta = max(1, size - 1) / count
            point = 0.5 * delta + i * delta
        else:
            point = (i + 0.5) * size / count - 0.5
        points.append(point)
    return np.array(points)


def sampled(x, axis, points):
    points = np.clip(points, 0, x.shape[axis] - 1)
    low = np.floor(points).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = (points - low).reshape([-1 if other == axis % x.ndim else 1 for other in range(x.ndim)])
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def resized(x, height, width, mode):
    return sampled(sampled(x, 2, grid(x.shape[2], height, mode)), 3, grid(x.shape[3], width, mode))


def half_pixel_nearest(x, height, width):
    rows = np.floor((np.arange(height) + 0.5) * x.shape[2] / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * x.shape[3] / width).astype(int)
    return x[:, :, rows][..., columns]


def crop(image, box, height, width, mode, pad):
    """One box (first row, first column, last row, last column) of one image."""
    rows = box[0] + grid(box[2] - box[0] + 1, height, mode)
    columns = box[1] + grid(box[3] - box[1] + 1, width, mode)
    out = sampled(sampled(image, 1, rows), 2, columns)
    out[:, (rows < 0) | (rows > image.shape[1] - 1)] = pad
    out[:, :, (columns < 0) | (columns > image.shape[2] - 1)] = pad
    return out


def grid_sample(x, coordinates, **options):
    return functional.grid_sample(t(x), t(coordinates), **options).numpy()


CASES = {
    **{
        f"resize_bilinear-{mode}": (
            "iOS15",
            {"x": IMAGE},
            lambda mb, x, mode=mode: [
                mb.resize_bilinear(x=x, target_size_height=8, target_size_width=3, sampling_mode=mode),
                mb.resize_bilinear(x=x, target_size_height=1, target_size_width=11, sampling_mode=mode),
            ],
            lambda x, mode=mode: [resized(x, 8, 3, mode), resized(x, 1, 11, mode)],
        )
        for mode in MODES
    },
    "resize": (
        "iOS17",
        {"x": IMAGE},
        lambda mb, x: [
            mb.resize(x=x, shape=[9, 6, 10], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
            mb.resize(x=x, shape=[0, 10], resized_dims=np.uint32(2), sampling_mode="ALIGN_CORNERS"),
            mb.resize(x=x, shape=[8, 3], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        ],
        lambda x: [
            functional.interpolate(t(x), (6, 10), mode="bilinear").numpy(),
            functional.interpolate(t(x), (5, 10), mode="bilinear", align_corners=True).numpy(),
            half_pixel_nearest(x, 8, 3),
        ],
    ),
    "resize_nearest_neighbor": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=8, target_size_width=4),
        lambda x: functional.interpolate(t(x), (8, 4), mode="nearest-exact").numpy(),
    ),
    "upsample_bilinear": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: [
            mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True),
            mb.upsample_bilinear(x=x, scale_factor_height=1.5, scale_factor_width=2.0, align_corners=False),
        ],
        lambda x: [
            functional.interpolate(t(x), (10, 21), mode="bilinear", align_corners=True).numpy(),
            functional.interpolate(t(x), (7, 14), mode="bilinear", align_corners=False).numpy(),
        ],
    ),
    "upsample_bilinear-corners": (
        "iOS16",
        {"x": IMAGE},
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False, half_pixel_centers=False
        ),
        lambda x: resized(x, 10, 21, "DEFAULT"),
    ),
    "upsample_nearest_neighbor": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2.5, scale_factor_width=2.0),
        lambda x: functional.interpolate(t(x), (12, 14), mode="nearest").numpy(),
    ),
    "crop_resize-boxes": (
        "iOS17",
        {"x": IMAGE, "boxes": np.array([[0.5, 1, 3, 5.5], [-1, 0, 4.5, 3]], np.float32)},
        lambda mb, x, boxes: mb.crop_resize(
            x=x,
            boxes=boxes,
            box_indices=np.array([1, 0], np.int32),
            target_height=3,
            target_width=4,
            sampling_mode="ALIGN_CORNERS",
            pad_value=9.0,
        ),
        lambda x, boxes: np.stack(
            [crop(x[1], boxes[0], 3, 4, "ALIGN_CORNERS", 9), crop(x[0], boxes[1], 3, 4, "ALIGN_CORNERS", 9)]
        ),
    ),
    "crop_resize-regions": (
        "iOS16",
        {"x": IMAGE, "roi": np.array([[1, 2, 2, 4, 2]], np.float32).reshape(1, 1, 5, 1, 1)},
        lambda mb, x, roi: mb.crop_resize(
            x=x,
            roi=roi,
            target_height=4,
            target_width=2,
            box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST",
            sampling_mode="OFFSET_CORNERS",
            spatial_scale=0.5,
        ),
        lambda x, roi: crop(x[1], (0.5, 0, 1.5, 2), 4, 2, "OFFSET_CORNERS", 0)[None, None],
    ),
    "crop_resize-normalized": (
        "iOS15",
        {"x": IMAGE, "roi": np.array([[0.25, 0.5, 1, 1]], np.float32).reshape(1, 1, 4, 1, 1)},
        lambda mb, x, roi: mb.crop_resize(
            x=x,
            roi=roi,
            target_height=2,
            target_width=3,
            normalized_coordinates=True,
            box_coordinate_mode="CORNERS_WIDTH_FIRST",
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        lambda x, roi: np.stack([crop(image, (2, 1.5, 4, 6), 2, 3, "STRICT_ALIGN_CORNERS", 0) for image in x])[None],
    ),
    "resample-constant": (
        "iOS15",
        {"x": IMAGE, "coordinates": COORDINATES},
        lambda mb, x, coordinates: mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=False,
        ),
        lambda x, coordinates: grid_sample(x, coordinates, align_corners=False),
    ),
    "resample-border": (
        "iOS15",
        {"x": IMAGE, "coordinates": (COORDINATES + 1) / 2},
        lambda mb, x, coordinates: mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode="nearest",
            padding_mode="border",
            padding_value=0.0,
            coordinates_mode="normalized_zero_to_one",
            align_corners=True,
        ),
        lambda x, coordinates: grid_sample(
            x, coordinates * 2 - 1, mode="nearest", padding_mode="border", align_corners=True
        ),
    ),
    "resample-reflection": (
        "iOS15",
        {"x": IMAGE, "coordinates": COORDINATES},
        lambda mb, x, coordinates: mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode="bilinear",
            padding_mode="reflection",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        lambda x, coordinates: grid_sample(x, coordinates, padding_mode="reflection", align_corners=True),
    ),
    "resample-symmetric": (
        "iOS15",
        {"x": IMAGE, "coordinates": COORDINATES},
        lambda mb, x, coordinates: mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode="bilinear",
            padding_mode="symmetric",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=False,
        ),
        lambda x, coordinates: grid_sample(x, coordinates, padding_mode="reflection", align_corners=False),
    ),
    "resample-unnormalized": (
        "iOS15",
        {"x": RAMP, "coordinates": np.array([[[[0.5, 1], [3, 2.5], [-1, 0]]]], np.float32)},
        lambda mb, x, coordinates: mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=6.0,
            coordinates_mode="unnormalized",
            align_corners=True,
        ),
        lambda x, coordinates: np.array([[[[5.5, 14, 6]]]]),
    ),
    "affine": (
        "iOS15",
        {"x": IMAGE, "matrix": MATRIX},
        lambda mb, x, matrix: mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=4,
            output_width=6,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        lambda x, matrix: grid_sample(
            x,
            functional.affine_grid(
                t(matrix.reshape(1, 2, 3)).expand(2, 2, 3), [2, 3, 4, 6], align_corners=True
            ).numpy(),
            align_corners=True,
        ),
    ),
}

REFUSED = {
    "resize-undocumented": (
        "iOS17",
        {"x": IMAGE},
        lambda mb, x: mb.resize(
            x=mb.resize(x=mb.cast(x=x, dtype="int32"), shape=[8, 3], resized_dims=np.uint32(2)),
            shape=[2, 2],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="OFFSET_CORNERS",
        ),
        None,
    ),
    "crop_resize-backwards": (
        "iOS17",
        {"x": IMAGE, "boxes": np.array([[3, 1, 0, 5]], np.float32)},
        lambda mb, x, boxes: mb.crop_resize(x=x, boxes=boxes, target_height=2, target_width=2, name="crop"),
        None,
    ),
}
CASES.update(REFUSED)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_resizing_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name], tolerance=1e-4)


def test_variants_that_no_source_documents_are_named_when_loading(packages):
    path = packages / "resize-undocumented.mlpackage"
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert caught.value.message == (
        f"{path}: the Core ML evaluator lacks resize (interpolation_mode=LINEAR of int32), resize "
        "(interpolation_mode=NEAREST_NEIGHBOR, sampling_mode=OFFSET_CORNERS). It runs the operators of the iOS 15 to "
        "iOS 18 opsets; validate this package on a Mac, or replace what the model uses there."
    )


def test_box_that_runs_backwards_is_an_error_where_its_result_is_not_documented(packages):
    with pytest.raises(ArtifactError) as caught:
        load(packages / "crop_resize-backwards.mlpackage").run(CASES["crop_resize-backwards"][1])
    assert caught.value.message == (
        'Operator crop_resize "crop" got a box from 3 to 0 with sampling mode DEFAULT: what a box that runs backwards '
        "gives in this mode is not documented. Check the model's boxes."
    )
