"""Operators of the Core ML evaluator that move, cut and fill elements, against NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

RNG = np.random.default_rng(5)
X = RNG.normal(0, 1, (2, 3, 4)).astype(np.float32)
IMAGE = np.arange(2 * 8 * 4 * 6, dtype=np.float32).reshape(2, 8, 4, 6)
INDICES = np.array([1, 0, 3], np.int32)
LENGTHS = np.array([2, 3], np.int32)


def t(array):
    return torch.from_numpy(np.asarray(array))


def depth_to_space(x, block):
    """Written out: block row and column are the slowest parts of the channel index."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, channels // block**2, height * block, width * block), x.dtype)
    for row in range(block):
        for column in range(block):
            start = (row * block + column) * out.shape[1]
            out[:, :, row::block, column::block] = x[:, start : start + out.shape[1]]
    return out


def space_to_depth(x, block):
    planes = [x[:, :, row::block, column::block] for row in range(block) for column in range(block)]
    return np.concatenate(planes, 1)


def space_to_batch(x, rows, columns):
    return np.concatenate([x[:, :, r::rows, c::columns] for r in range(rows) for c in range(columns)], 0)


def reversed_sequence(x, lengths):
    out = x.copy()
    for item, length in enumerate(lengths):
        out[item, :length] = x[item, :length][::-1]
    return out


def updated(x):
    out = x.copy()
    out[0:2, 1:3, 0:4:2] = -1
    return out


CASES = {
    "reshape": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.reshape(x=x, shape=[4, -1]), mb.reshape(x=x, shape=[0, 2, 6])],
        lambda x: [x.reshape(4, 6), x.reshape(2, 2, 6)],
    ),
    "reshape-zeros-from-the-right": (
        "iOS17",
        {"x": X},
        lambda mb, x: mb.reshape(x=x, shape=[1, 0, -1, 0, 0]),
        lambda x: x.reshape(1, 1, 2, 3, 4),
    ),
    "reshape_like": (
        "iOS16",
        {"x": X, "y": IMAGE[:, :3, :2, :2]},
        lambda mb, x, y: mb.reshape_like(x=x, ref_tensors=(y, y), begins=(0, 2), ends=(2, 0), end_masks=(False, True)),
        lambda x, y: x.reshape(2, 3, 2, 2),
    ),
    "expand_dims": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.expand_dims(x=x, axes=[0, -1]),
        lambda x: x[None, ..., None],
    ),
    "squeeze": (
        "iOS15",
        {"x": X[None, :, :1]},
        lambda mb, x: [mb.squeeze(x=x), mb.squeeze(x=x, axes=[-2])],
        lambda x: [x[0, :, 0], x[:, :, 0]],
    ),
    "flatten2d": ("iOS15", {"x": X}, lambda mb, x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(6, 4)),
    "transpose": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.transpose(x=x, perm=[2, 0, -2]),
        lambda x: x.transpose(2, 0, 1),
    ),
    "shape": ("iOS15", {"x": X}, lambda mb, x: mb.shape(x=x), lambda x: np.array(x.shape)),
    "concat": (
        "iOS15",
        {"x": X, "y": -X},
        lambda mb, x, y: [mb.concat(values=(x, y), axis=-2), mb.concat(values=(x, y), axis=1, interleave=True)],
        lambda x, y: [np.concatenate([x, y], 1), np.stack([x, y], 2).reshape(2, 6, 4)],
    ),
    "split": (
        "iOS15",
        {"x": X},
        lambda mb, x: [*mb.split(x=x, num_splits=2, axis=2), *mb.split(x=x, split_sizes=[1, 2], axis=1)],
        lambda x: [x[..., :2], x[..., 2:], x[:, :1], x[:, 1:]],
    ),
    "stack": ("iOS15", {"x": X}, lambda mb, x: mb.stack(values=(x, x), axis=1), lambda x: np.stack([x, x], 1)),
    "tile": ("iOS15", {"x": X}, lambda mb, x: mb.tile(x=x, reps=[1, 2, 3]), lambda x: np.tile(x, (1, 2, 3))),
    "reverse": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.reverse(x=x), mb.reverse(x=x, axes=[-1])],
        lambda x: [x[::-1, ::-1, ::-1], x[..., ::-1]],
    ),
    "reverse_sequence": (
        "iOS15",
        {"x": X, "lengths": LENGTHS},
        lambda mb, x, lengths: mb.reverse_sequence(x=x, lengths=lengths, seq_axis=1, batch_axis=0),
        reversed_sequence,
    ),
    "sliding_windows": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.sliding_windows(x=x, axis=-1, size=3, stride=2),
        lambda x: np.stack([x[..., 0:3], x[..., 2:5]], -2),
    ),
    "depth_to_space": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.depth_to_space(x=x, block_size=2),
        lambda x: depth_to_space(x, 2),
    ),
    "space_to_depth": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.space_to_depth(x=x, block_size=2),
        lambda x: space_to_depth(x, 2),
    ),
    "space_to_batch": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[1, 1], [0, 3]]),
        lambda x: space_to_batch(np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 3))), 2, 3),
    ),
    "batch_to_space": (
        "iOS15",
        {"x": space_to_batch(IMAGE, 2, 3)},
        lambda mb, x: mb.batch_to_space(x=x, block_shape=[2, 3], crops=[[0, 1], [1, 2]]),
        lambda x: IMAGE[:, :, :-1, 1:-2],
    ),
    "pixel_shuffle": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: torch.nn.functional.pixel_shuffle(t(x), 2).numpy(),
    ),
    "pixel_unshuffle": (
        "iOS16",
        {"x": IMAGE},
        lambda mb, x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: torch.nn.functional.pixel_unshuffle(t(x), 2).numpy(),
    ),
    "slice_by_index": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: [
            mb.slice_by_index(x=x, begin=[0, -3, 0, 1], end=[1, -1, 4, 6], stride=[1, 1, 2, 3]),
            mb.slice_by_index(
                x=x,
                begin=[1, 5, 0, 0],
                end=[0, 0, 0, -2],
                stride=[1, -2, 1, 1],
                begin_mask=[False, False, True, True],
                end_mask=[False, False, True, False],
                squeeze_mask=[True, False, False, False],
            ),
        ],
        lambda x: [x[0:1, -3:-1, 0:4:2, 1:6:3], x[1, 5:0:-2, :, :-2]],
    ),
    "slice_by_size": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.slice_by_size(x=x, begin=[1, 0, 1], size=[1, 2, -1]),
        lambda x: x[1:, :2, 1:],
    ),
    "slice_update": (
        "iOS18",
        {"x": X},
        lambda mb, x: mb.slice_update(
            x=x, update=np.full((2, 2, 2), -1, np.float32), begin=[0, 1, 0], end=[2, 3, 4], stride=[1, 1, 2]
        ),
        updated,
    ),
    "crop": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]),
        lambda x: x[:, :, 1:, 2:-1],
    ),
    "pad": (
        "iOS15",
        {"x": IMAGE},
        lambda mb, x: [
            mb.pad(x=x, pad=[1, 2, 0, 3], mode="constant", constant_val=7.0),
            mb.pad(x=x, pad=[0, 0, 2, 1, 3, 2, 0, 5], mode="reflect"),
            mb.pad(x=x, pad=[2, 1, 0, 3], mode="replicate"),
        ],
        lambda x: [
            np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=7),
            np.pad(x, ((0, 0), (2, 1), (3, 2), (0, 5)), "reflect"),
            np.pad(x, ((0, 0), (0, 0), (2, 1), (0, 3)), "edge"),
        ],
    ),
    "band_part": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.band_part(x=x, lower=1, upper=0), mb.band_part(x=x, upper=1)],
        lambda x: [np.tril(np.triu(x, -1)), np.tril(x, 1)],
    ),
    "cumsum": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.cumsum(x=x, axis=1), mb.cumsum(x=x, axis=2, reverse=True)],
        lambda x: [np.cumsum(x, 1), np.cumsum(x[..., ::-1], 2)[..., ::-1]],
    ),
    "cumsum-exclusive": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.cumsum(x=x, axis=1, exclusive=True),
        lambda x: np.cumsum(x, 1) - x,
    ),
    "fill": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.fill(shape=mb.shape(x=x), value=2.5), mb.fill(shape=[2, 3], value=4)],
        lambda x: [np.full(x.shape, 2.5), np.full((2, 3), 4)],
    ),
    "fill_like": (
        "iOS16",
        {"x": X},
        lambda mb, x: mb.fill_like(ref_tensor=x, value=3),
        lambda x: np.full(x.shape, 3),
    ),
    "non_zero": (
        "iOS15",
        {"x": np.array([[3, 0, 1], [0, 0, 2]], np.float32)},
        lambda mb, x: mb.non_zero(x=x),
        np.argwhere,
    ),
    "one_hot": (
        "iOS15",
        {"x": INDICES},
        lambda mb, x: [
            mb.one_hot(indices=x, one_hot_vector_size=4),
            mb.one_hot(indices=x, one_hot_vector_size=5, axis=0, on_value=2.0, off_value=-1.0),
        ],
        lambda x: [np.eye(4)[x], np.where(np.eye(5)[x].T > 0, 2, -1)],
    ),
    "range_1d": (
        "iOS15",
        {"x": INDICES},
        lambda mb, x: [
            mb.range_1d(start=2, end=mb.reduce_sum(x=x), step=3),
            mb.range_1d(start=1.0, end=2.1, step=0.25),
            mb.range_1d(start=5, end=0, step=-2),
        ],
        lambda x: [np.arange(2, x.sum(), 3), np.arange(1, 2.1, 0.25), np.arange(5, 0, -2)],
    ),
    "select": (
        "iOS15",
        {"x": X},
        lambda mb, x: mb.select(cond=mb.greater(x=x, y=0.0), a=x, b=np.float32(-9)),
        lambda x: np.where(x > 0, x, -9),
    ),
}


INFERRED_WRONGLY = {"concat"}  # coremltools' inference overlooks `interleave`


@pytest.mark.parametrize("name", CASES)
def test_shaping_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name], against_inference=name not in INFERRED_WRONGLY)
