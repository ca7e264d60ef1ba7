"""Which torch type holds which declared element type, and how results are brought to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

TORCH_TYPES: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "fp16": torch.float32,  # computed in fp32; rounded to fp16 by the interpreter
    "fp32": torch.float32,
    "fp64": torch.float32,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint1": torch.uint8,
    "uint2": torch.uint8,
    "uint3": torch.uint8,
    "uint4": torch.uint8,
    "uint6": torch.uint8,
    "uint8": torch.uint8,
    "uint16": torch.int32,  # torch computes little in unsigned types wider than a byte
    "uint32": torch.int64,
    "uint64": torch.int64,
}
"""By declared element type."""


_PART: Final = 1 << 16
"""Elements that are brought through several operations before the next: 256 kB, less than a core's second cache."""


def torch_dtype(dtype: str) -> torch.dtype:
    """Returns the torch type for a declared element type, float32 for one without numbers."""
    return TORCH_TYPES.get(dtype, torch.float32)


def parts_of(x: Tensor) -> Sequence[Tensor]:
    """Returns the elements of a tensor in parts that a cache holds, as views; the whole where it has gaps."""
    if not (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))):
        return (x,)
    flat: Tensor = x.as_strided((x.numel(),), (1,), x.storage_offset())
    parts: Sequence[Tensor] = flat.split(_PART)
    return parts


def round_to_fp16(value: Tensor, *, in_place: bool = False) -> Tensor:
    """Returns the values rounded to fp16 (nearest, ties to even), held in float32.

    Args:
        value: The values.
        in_place: Nobody else needs them: the result takes their place.
    """
    if not in_place:
        return value.to(torch.float16).to(torch.float32)
    for part in parts_of(value):
        part.copy_(part.to(torch.float16))
    return value
