"""Decompression of constants: the `constexpr_*` operators of the iOS 16 and iOS 18 opsets.

Formulas as in the operators' documentation in coremltools. All arithmetic is in fp32; the result is then stored in
the declared type, as the file's reader on a device does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.validators.coreml_evaluator.number_formats import unpack_bits

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Any]

PAYLOADS = ("quantized_data", "indices", "indices_nonzero_data", "data", "nonzero_data", "source_val")
"""Parameters that hold the values themselves, as against scales, tables and masks."""

SETTINGS = ("axis", "output_dtype", "shape", "vector_axis")
"""Parameters that say how to decompress and hold no weights."""


def decompress(operator: str, arguments: Arrays) -> tuple[Array, ...] | None:
    """Returns the results of a `constexpr_*` operator, None where the operator is not known.

    Args:
        operator: The operator's type.
        arguments: Its arguments by parameter name.
    """
    decompressor = _DECOMPRESSORS.get(operator)
    return None if decompressor is None else decompressor(arguments)


def _affine_dequantize(arguments: Arrays) -> tuple[Array, ...]:
    """`scale * (quantized_data - zero_point)`, scale and zero point per tensor or along `axis`."""
    data, scale = arguments["quantized_data"], arguments["scale"]
    axis = int(arguments.get("axis", 0))

    def along_axis(values: Array) -> Array:
        shape = [1] * data.ndim
        if values.size > 1:
            shape[axis] = values.size
        return values.astype(np.float32).reshape(shape)

    dense = (data.astype(np.float32) - along_axis(arguments["zero_point"])) * along_axis(scale)
    return (dense.astype(scale.dtype),)


def _cast(arguments: Arrays) -> tuple[Array, ...]:
    return (arguments["source_val"].astype(np.float32),)


def _lut_to_dense(arguments: Arrays) -> tuple[Array, ...]:
    if "shape" in arguments:  # iOS 16: a flat table and indices packed into bytes
        shape = tuple(int(size) for size in arguments["shape"])
        table = arguments["lut"]
        bits = int(table.size).bit_length() - 1
        indices = unpack_bits(arguments["indices"].tobytes(), bits=bits, count=prod(shape), signed=False)
        return (table[indices].reshape(shape),)
    return (_look_up(arguments["indices"], arguments["lut"], arguments.get("vector_axis")),)


def _look_up(indices: Array, tables: Array, vector_axis: Any) -> Array:
    """Returns the dense tensor behind table indices.

    Args:
        indices: Shape `(d0, ..., dn)`.
        tables: Shape `(g0, ..., gn, 2 ** bits, vector)`: one table for each block of `d / g` indices.
        vector_axis: The axis along which the elements of a vector follow each other; None for scalars.
    """
    blocks: list[Array] = []
    for axis, (size, groups) in enumerate(zip(indices.shape, tables.shape, strict=False)):
        position = np.arange(size) // (size // groups)
        blocks.append(position.reshape([-1 if other == axis else 1 for other in range(indices.ndim)]))
    vectors: Array = tables[(*np.broadcast_arrays(*blocks), indices.astype(np.int64))]
    width = tables.shape[-1]
    if width == 1:
        return np.asarray(vectors[..., 0])
    axis = int(vector_axis) % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= width
    dense: Array = np.moveaxis(vectors, -1, axis + 1).reshape(shape)
    return dense


def _sparse_to_dense(arguments: Arrays) -> tuple[Array, ...]:
    mask = arguments["mask"]
    if "shape" in arguments:  # iOS 16: the mask is packed into bytes
        shape = tuple(int(size) for size in arguments["shape"])
        mask = unpack_bits(mask.tobytes(), bits=1, count=prod(shape), signed=False).reshape(shape)
    return (_scatter(arguments["nonzero_data"], mask),)


def _scatter(values: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def _blockwise_shift_scale(arguments: Arrays) -> tuple[Array, ...]:
    return (_shift_scale(arguments["data"], arguments["scale"], arguments.get("offset")),)


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """`scale * (data - offset)`, one scale and offset for each block of `data.shape / scale.shape` elements."""

    def spread(values: Array) -> Array:
        values = values.astype(np.float32)
        for axis, (size, blocks) in enumerate(zip(data.shape, scale.shape, strict=True)):
            values = np.repeat(values, size // blocks, axis)
        return values

    dense = data.astype(np.float32)
    if offset is not None:
        dense = dense - spread(offset)
    return (dense * spread(scale)).astype(scale.dtype)


def _lut_to_sparse(arguments: Arrays) -> tuple[Array, ...]:
    mask, tables = arguments["indices_mask"], arguments["lut"]
    vector_axis: Any = arguments.get("vector_axis")
    indices = _scatter(arguments["indices_nonzero_data"], mask)
    dense = _look_up(indices, tables, vector_axis)
    if tables.shape[-1] > 1:
        mask = np.repeat(mask, tables.shape[-1], axis=int(vector_axis))
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(arguments: Arrays) -> tuple[Array, ...]:
    mask = arguments["data_mask"]
    data = _scatter(arguments["nonzero_data"], mask)
    return mask, _shift_scale(data, arguments["scale"], arguments.get("offset"))[mask != 0]


_DECOMPRESSORS: dict[str, Callable[[Arrays], tuple[Array, ...]]] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
"""By operator type."""
