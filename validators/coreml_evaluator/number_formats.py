"""Number formats of ML Program tensors: how a value is stored, and what it becomes once read.

The numbers are those of `MILSpec.DataType` in Core ML's `MIL.proto`, the blob codes those of the weight file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormat:
    """One element type.

    Attributes:
        name: The name that coremltools uses (`fp16`, `int4`).
        bits: Bits that one element takes in the weight file.
        numpy_name: NumPy type of an element once it is unpacked.
        blob_code: What the weight file's own header calls this format, None where it cannot hold it.
    """

    name: str
    bits: int
    numpy_name: str
    blob_code: int | None = None

    @property
    def is_sub_byte(self) -> bool:
        """True where several elements share a byte."""
        return self.bits < 8 and self.name != "bool"


FORMATS: dict[int, NumberFormat] = {
    1: NumberFormat(name="bool", bits=8, numpy_name="bool"),
    10: NumberFormat(name="fp16", bits=16, numpy_name="float16", blob_code=1),
    11: NumberFormat(name="fp32", bits=32, numpy_name="float32", blob_code=2),
    12: NumberFormat(name="fp64", bits=64, numpy_name="float64"),
    21: NumberFormat(name="int8", bits=8, numpy_name="int8", blob_code=4),
    22: NumberFormat(name="int16", bits=16, numpy_name="int16", blob_code=6),
    23: NumberFormat(name="int32", bits=32, numpy_name="int32", blob_code=14),
    24: NumberFormat(name="int64", bits=64, numpy_name="int64"),
    25: NumberFormat(name="int4", bits=4, numpy_name="int8", blob_code=8),
    31: NumberFormat(name="uint8", bits=8, numpy_name="uint8", blob_code=3),
    32: NumberFormat(name="uint16", bits=16, numpy_name="uint16", blob_code=7),
    33: NumberFormat(name="uint32", bits=32, numpy_name="uint32", blob_code=15),
    34: NumberFormat(name="uint64", bits=64, numpy_name="uint64"),
    35: NumberFormat(name="uint4", bits=4, numpy_name="uint8", blob_code=11),
    36: NumberFormat(name="uint2", bits=2, numpy_name="uint8", blob_code=10),
    37: NumberFormat(name="uint1", bits=1, numpy_name="uint8", blob_code=9),
    38: NumberFormat(name="uint6", bits=6, numpy_name="uint8", blob_code=13),
    39: NumberFormat(name="uint3", bits=3, numpy_name="uint8", blob_code=12),
}
"""By `MILSpec.DataType`. Strings (2) are handled apart; bfloat16 and the 8-bit floats are in no opset up to iOS 18."""

STRING = 2

BY_NAME: dict[str, NumberFormat] = {number_format.name: number_format for number_format in FORMATS.values()}


def format_of(code: int, *, where: str) -> NumberFormat:
    """Returns the number format behind a `MILSpec.DataType` number.

    Args:
        code: The number in the protobuf.
        where: What has this type, for the message.

    Raises:
        ArtifactError: No opset up to iOS 18 has a value of this type.
    """
    if code not in FORMATS:
        known = ", ".join(number_format.name for number_format in FORMATS.values())
        raise ArtifactError(
            f"{where} has element type {code} of MIL.proto, which the Core ML evaluator does not read "
            f"(it reads {known}). Export for iOS 18 or earlier."
        )
    return FORMATS[code]


def unpack_bits(raw: bytes, *, bits: int, count: int, signed: bool) -> NDArray[np.int8] | NDArray[np.uint8]:
    """Returns `count` integers of `bits` bits each, unpacked from bytes.

    Core ML packs from the least significant bit up; an element may cross a byte (3 and 6 bits do).

    Args:
        raw: At least `ceil(count * bits / 8)` bytes.
        bits: 1 to 8.
        count: Elements to read; what follows is padding.
        signed: Read two's complement.

    Raises:
        ValueError: `raw` is too short.
    """
    needed = (count * bits + 7) // 8
    if len(raw) < needed:
        raise ValueError(f"{count} elements of {bits} bits need {needed} bytes, got {len(raw)}")
    packed = np.frombuffer(raw, np.uint8, needed)
    planes = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    values = np.zeros(count, np.uint8)
    for plane in range(bits):
        values |= planes[:, plane] << np.uint8(plane)
    if not signed:
        return values
    unused = np.uint8(8 - bits)  # shift the sign bit to the top, then back down arithmetically
    shifted: NDArray[np.int8] = (values << unused).view(np.int8)
    return shifted >> np.int8(unused)


def elements_from_bytes(raw: bytes, number_format: NumberFormat, count: int) -> NDArray[np.generic]:
    """Returns `count` elements read from bytes in the weight file's layout, as a flat array.

    Raises:
        ValueError: `raw` is too short.
    """
    if number_format.is_sub_byte:
        signed = number_format.name.startswith("int")
        return unpack_bits(raw, bits=number_format.bits, count=count, signed=signed)
    needed = count * number_format.bits // 8
    if len(raw) < needed:
        raise ValueError(f"{count} elements of {number_format.name} need {needed} bytes, got {len(raw)}")
    return np.frombuffer(raw, np.dtype(number_format.numpy_name), count)
