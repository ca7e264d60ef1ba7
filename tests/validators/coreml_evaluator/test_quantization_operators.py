"""Quantized activations and compressed constants of the Core ML evaluator against their documented formulas."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.validators.coreml_evaluator import load

RNG = np.random.default_rng(9)
X = RNG.normal(0, 1, (2, 3, 4)).astype(np.float32)
SCALES = np.array([0.01, 0.02, 0.05], np.float32)
POINTS = np.array([3, -4, 0], np.int8)
BYTES = RNG.integers(-128, 128, (6, 4)).astype(np.int8)
ROW_SCALES = RNG.uniform(0.01, 0.1, 6).astype(np.float32)
ROW_POINTS = RNG.integers(-9, 9, 6).astype(np.int8)
MASK = (RNG.uniform(0, 1, (6, 4)) < 0.6).astype(np.uint8)
KEPT = RNG.normal(0, 1, int(MASK.sum())).astype(np.float32)
ONES = np.ones((6, 4), np.float32)


def quantized(x, scale, point, low, high):
    return np.clip(np.round(x / scale) + point, low, high)


def sub_byte(name):
    """NumPy's stand-ins for types below a byte, which coremltools defines."""
    from coremltools.converters.mil.mil import types

    return types.nptype_from_builtin(types.string_to_builtin(name))


def looked_up(indices, tables, vector_axis=None):
    """One element at a time: which block, which table, which vector."""
    groups = [size // blocks for size, blocks in zip(indices.shape, tables.shape, strict=False)]
    width = tables.shape[-1]
    shape = list(indices.shape)
    if vector_axis is not None:
        shape[vector_axis] *= width
    out = np.zeros(shape, np.float32)
    for place in np.ndindex(*indices.shape):
        block = tuple(position // size for position, size in zip(place, groups, strict=True))
        vector = tables[(*block, indices[place])]
        for part in range(width):
            target = list(place)
            if vector_axis is not None:
                target[vector_axis] = place[vector_axis] * width + part
            out[tuple(target)] = vector[part]
    return out


def blocks(values, shape):
    for axis, size in enumerate(shape):
        values = np.repeat(values, size // values.shape[axis], axis)
    return values


def packed(values, bits):
    planes = np.unpackbits(values.reshape(-1, 1).astype(np.uint8), axis=1, bitorder="little")[:, :bits]
    return np.packbits(planes.reshape(-1), bitorder="little")


INDICES = {bits: RNG.integers(0, 2**bits, (6, 4)).astype(np.uint8) for bits in (1, 2, 3, 4, 6, 8)}
TABLES = {bits: RNG.normal(0, 1, (3, 1, 2**bits, 1)).astype(np.float32) for bits in INDICES}
FLAT_TABLES = {bits: RNG.normal(0, 1, 2**bits).astype(np.float32) for bits in (1, 2, 4, 6, 8)}
VECTORS = RNG.normal(0, 1, (1, 2, 4, 2)).astype(np.float32)
BLOCK_SCALES = RNG.uniform(0.1, 0.5, (6, 2)).astype(np.float32)
FOURS = RNG.integers(-8, 8, (6, 4)).astype(np.int8)
FOUR_OFFSETS = RNG.integers(-8, 8, (6, 2)).astype(np.int8)
KEPT_INDICES = RNG.integers(0, 4, int(MASK.sum())).astype(np.uint8)
KEPT_BYTES = RNG.integers(-128, 128, int(MASK.sum())).astype(np.int8)


def dense(values):
    out = np.zeros(MASK.shape, values.dtype)
    out[MASK != 0] = values
    return out


def scaled(target, constant, expected):
    """The constant, times a computed tensor so that it is no output by itself."""
    return (
        target,
        {"x": np.ones(expected.shape, np.float32)},
        lambda mb, x: mb.mul(x=x, y=constant(mb)),
        lambda x: x * expected,
    )


def joint_table(mb):
    mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=MASK.astype(sub_byte("uint1")),
        indices_nonzero_data=KEPT_INDICES.astype(sub_byte("uint2")),
        lut=TABLES[2][:1],
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def joint_vectors(mb):
    mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=MASK.astype(sub_byte("uint1")),
        indices_nonzero_data=KEPT_INDICES.astype(sub_byte("uint2")),
        lut=VECTORS[:, :1],
        vector_axis=0,
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def joint_scale(mb):
    mask, values = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=MASK.astype(sub_byte("uint1")), nonzero_data=KEPT_BYTES, scale=BLOCK_SCALES
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


def table_then_scale(mb):
    """Table entries that are quantized themselves."""
    table = mb.constexpr_lut_to_dense(
        indices=INDICES[2].astype(sub_byte("uint2")), lut=(TABLES[2] * 40).astype(np.int8)
    )
    return mb.constexpr_blockwise_shift_scale(data=table, scale=BLOCK_SCALES)


COMPRESSED = {
    "constexpr_affine_dequantize": scaled(
        "iOS16",
        lambda mb: mb.constexpr_affine_dequantize(
            quantized_data=BYTES, zero_point=ROW_POINTS, scale=ROW_SCALES, axis=0
        ),
        (BYTES.astype(np.float32) - ROW_POINTS[:, None]) * ROW_SCALES[:, None],
    ),
    "constexpr_affine_dequantize-tensor": scaled(
        "iOS16",
        lambda mb: mb.constexpr_affine_dequantize(
            quantized_data=BYTES.view(np.uint8), zero_point=np.uint8(7), scale=np.float32(0.5), axis=0
        ),
        (BYTES.view(np.uint8).astype(np.float32) - 7) * 0.5,
    ),
    "constexpr_cast": scaled(
        "iOS16",
        lambda mb: mb.constexpr_cast(source_val=ROW_SCALES.astype(np.float16), output_dtype="fp32"),
        ROW_SCALES.astype(np.float16).astype(np.float32),
    ),
    **{
        f"constexpr_lut_to_dense-flat-{bits}": scaled(
            "iOS16",
            lambda mb, bits=bits: mb.constexpr_lut_to_dense(
                indices=packed(INDICES[bits], bits), lut=FLAT_TABLES[bits], shape=np.array([6, 4], np.uint32)
            ),
            FLAT_TABLES[bits][INDICES[bits]],
        )
        for bits in FLAT_TABLES
    },
    **{
        f"constexpr_lut_to_dense-grouped-{bits}": scaled(
            "iOS18",
            lambda mb, bits=bits: mb.constexpr_lut_to_dense(
                indices=INDICES[bits].astype(sub_byte(f"uint{bits}")), lut=TABLES[bits]
            ),
            looked_up(INDICES[bits], TABLES[bits]),
        )
        for bits in INDICES
    },
    **{
        f"constexpr_lut_to_dense-vectors-{axis}": scaled(
            "iOS18",
            lambda mb, axis=axis: mb.constexpr_lut_to_dense(
                indices=INDICES[2].astype(sub_byte("uint2")), lut=VECTORS, vector_axis=axis
            ),
            looked_up(INDICES[2], VECTORS, axis),
        )
        for axis in (0, 1)
    },
    "constexpr_blockwise_shift_scale": scaled(
        "iOS18",
        lambda mb: mb.constexpr_blockwise_shift_scale(
            data=FOURS.astype(sub_byte("int4")), scale=BLOCK_SCALES, offset=FOUR_OFFSETS.astype(sub_byte("int4"))
        ),
        (FOURS - blocks(FOUR_OFFSETS, (6, 4))) * blocks(BLOCK_SCALES, (6, 4)),
    ),
    "constexpr_blockwise_shift_scale-unsigned": scaled(
        "iOS18",
        lambda mb: mb.constexpr_blockwise_shift_scale(data=INDICES[4].astype(sub_byte("uint4")), scale=BLOCK_SCALES),
        INDICES[4] * blocks(BLOCK_SCALES, (6, 4)),
    ),
    "constexpr_sparse_to_dense-flat": scaled(
        "iOS16",
        lambda mb: mb.constexpr_sparse_to_dense(
            nonzero_data=KEPT, mask=packed(MASK, 1), shape=np.array([6, 4], np.uint32)
        ),
        dense(KEPT),
    ),
    "constexpr_sparse_to_dense": scaled(
        "iOS18",
        lambda mb: mb.constexpr_sparse_to_dense(nonzero_data=KEPT, mask=MASK.astype(sub_byte("uint1"))),
        dense(KEPT),
    ),
    "constexpr_lut_to_sparse": scaled(
        "iOS18", joint_table, looked_up(dense(KEPT_INDICES), TABLES[2][:1]) * (MASK != 0)
    ),
    "constexpr_lut_to_sparse-vectors": scaled(
        "iOS18",
        joint_vectors,
        looked_up(dense(KEPT_INDICES), VECTORS[:, :1], 0) * np.repeat(MASK, 2, 0),
    ),
    "constexpr_sparse_blockwise_shift_scale": scaled(
        "iOS18", joint_scale, dense(KEPT_BYTES) * blocks(BLOCK_SCALES, (6, 4))
    ),
    "constexpr-chain": scaled(
        "iOS18",
        table_then_scale,
        looked_up(INDICES[2], (TABLES[2] * 40).astype(np.int8)) * blocks(BLOCK_SCALES, (6, 4)),
    ),
}

CASES = {
    **COMPRESSED,
    "quantize": (
        "iOS17",
        {"x": X},
        lambda mb, x: [
            mb.cast(
                x=mb.quantize(input=x, scale=np.float32(0.013), zero_point=np.uint8(120), output_dtype="uint8"),
                dtype="fp32",
            ),
            mb.cast(x=mb.quantize(input=x, scale=SCALES, zero_point=POINTS, axis=1, output_dtype="int8"), dtype="fp32"),
        ],
        lambda x: [
            quantized(x, np.float32(0.013), 120, 0, 255),
            quantized(x, SCALES[:, None], POINTS[:, None].astype(np.float32), -128, 127),
        ],
    ),
    "dequantize": (
        "iOS17",
        {"x": X},
        lambda mb, x: [
            mb.dequantize(
                input=mb.quantize(input=x, scale=SCALES, zero_point=POINTS, axis=1, output_dtype="int8"),
                scale=SCALES,
                zero_point=POINTS,
                axis=1,
            ),
            mb.dequantize(
                input=mb.quantize(input=x, scale=np.float32(0.02), output_dtype="int8"), scale=np.float32(0.03)
            ),
        ],
        lambda x: [
            (quantized(x, SCALES[:, None], POINTS[:, None].astype(np.float32), -128, 127) - POINTS[:, None])
            * SCALES[:, None],
            quantized(x, np.float32(0.02), 0, -128, 127) * 0.03,
        ],
    ),
}

LARGE = RNG.normal(0, 1, (1, 3, 200, 150)).astype(np.float32)  # longer than one part


def there_and_back(mb, x, point=None, back=None, step=0.02):
    points = {} if point is None else {"zero_point": np.int8(point)}
    backs = {} if back is None else {"zero_point": np.int8(back)}
    levels = mb.quantize(input=x, scale=np.float32(0.02), output_dtype="int8", **points)
    return mb.dequantize(input=levels, scale=np.float32(step), **backs)


def clamped_twice(mb, x):
    """A sum that is read once, clamped, and one that is read twice, which no reader may change."""
    once, twice = mb.add(x=x, y=np.float32(0.5)), mb.add(x=x, y=np.float32(0.25))
    return [there_and_back(mb, mb.clip(x=once, alpha=np.float32(0), beta=np.float32(1))), mb.relu(x=twice), twice]


def read_by_two(mb, x):
    levels = mb.quantize(input=x, scale=np.float32(0.02), output_dtype="int8")
    return [mb.dequantize(input=levels, scale=np.float32(step)) for step in (0.02, 0.5)]


def grid(x, point=0.0, back=0.0, step=0.02):
    return (quantized(x, np.float32(0.02), point, -128, 127) - back) * np.float32(step)


JOINED = {
    "joined-plain": ("iOS17", {"x": X}, there_and_back, grid),
    "joined-in-parts": (
        "iOS17",
        {"x": LARGE},
        lambda mb, x: there_and_back(mb, x, -20, -20),
        lambda x: grid(x, -20, -20),
    ),
    "joined-other-grids": (
        "iOS17",
        {"x": X},
        lambda mb, x: there_and_back(mb, x, -20, 7, 0.03),
        lambda x: grid(x, -20, 7, 0.03),
    ),
    "joined-clamped": (
        "iOS17",
        {"x": X},
        clamped_twice,
        lambda x: [grid(np.clip(x + np.float32(0.5), 0, 1)), np.maximum(x + np.float32(0.25), 0), x + np.float32(0.25)],
    ),
    "joined-not-for-two": ("iOS17", {"x": X}, read_by_two, lambda x: [grid(x), grid(x, step=0.5)]),
    "folded": (
        "iOS17",
        {"x": np.ones((6, 4), np.float32)},
        lambda mb, x: mb.add(x=x, y=mb.relu(x=mb.dequantize(input=BYTES, scale=np.float32(0.5)))),
        lambda x: x + np.maximum(BYTES * np.float32(0.5), 0),
    ),
}
"""Programs of which a run without a trace computes less than the file says: grids joined, constants folded."""

CASES |= JOINED

STORED = {
    "constexpr_affine_dequantize": ("int8", ("constexpr_affine_dequantize",), 24 + 6 + 24),
    "constexpr_cast": ("fp16", ("constexpr_cast",), 12),
    "constexpr_lut_to_dense-flat-4": ("uint4", ("constexpr_lut_to_dense",), 12 + 64),
    "constexpr_lut_to_dense-grouped-3": ("uint3", ("constexpr_lut_to_dense",), 9 + 96),
    "constexpr_blockwise_shift_scale": ("int4", ("constexpr_blockwise_shift_scale",), 12 + 48 + 6),
    "constexpr_sparse_to_dense": ("fp32", ("constexpr_sparse_to_dense",), 3 + 4 * int(MASK.sum())),
    "constexpr_lut_to_sparse": ("uint2", ("constexpr_sparse_to_dense", "constexpr_lut_to_sparse"), None),
    "constexpr-chain": ("uint2", ("constexpr_blockwise_shift_scale", "constexpr_lut_to_dense"), 6 + 12 + 48),
}


@pytest.mark.parametrize("name", CASES)
def test_quantized_values_agree_with_their_formula(name, run_case):
    run_case(name, CASES[name])


@pytest.mark.parametrize("name", STORED)
def test_how_a_constant_is_stored_is_reported(name, packages):
    dtype, encoding, size = STORED[name]
    stored = [item for item in load(packages / f"{name}.mlpackage").stored_constants if item.encoding]
    assert [(item.stored_dtype, item.encoding, item.dtype) for item in stored] == [(dtype, encoding, "fp32")]
    assert size is None or stored[0].stored_bytes == size
    assert stored[0].elements == np.prod(stored[0].shape)


@pytest.mark.parametrize("name", JOINED)
def test_a_run_that_is_traced_gives_the_same_bits_and_every_value(name, packages):
    inputs = JOINED[name][1]
    quick, traced = load(packages / f"{name}.mlpackage", threads=1), load(packages / f"{name}.mlpackage", threads=1)
    values = {}
    expected = traced.run(inputs, trace=values.__setitem__)
    for _ in range(2):  # what was computed once serves the second run as well
        results = quick.run(inputs)
        for output, want in expected.items():
            np.testing.assert_array_equal(results[output], want)
    assert set(values) == {result.name for operation in traced.operations for result in operation.outputs}


def test_a_run_leaves_the_arrays_of_its_caller_alone(packages):
    given = X.copy()
    load(packages / "joined-plain.mlpackage", threads=1).run({"x": given})
    np.testing.assert_array_equal(given, X)
