"""Unpacking of the Core ML evaluator against a packer written out bit by bit, and its errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME, elements_from_bytes, format_of, unpack_bits


def packed_by_hand(values, bits):
    """One long integer, the first element in its lowest bits."""
    whole = sum((value & (2**bits - 1)) << (bits * place) for place, value in enumerate(values))
    return whole.to_bytes((len(values) * bits + 7) // 8, "little")


@st.composite
def integers_below_a_byte(draw):
    bits, signed = draw(st.integers(1, 8)), draw(st.booleans())
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return bits, signed, draw(st.lists(st.integers(low, high), max_size=70))


@given(integers_below_a_byte(), st.binary(max_size=3))
def test_unpacking_undoes_packing_whatever_follows(case, trailing):
    bits, signed, values = case
    unpacked = unpack_bits(packed_by_hand(values, bits) + trailing, bits=bits, count=len(values), signed=signed)
    assert unpacked.tolist() == values
    assert unpacked.dtype == (np.int8 if signed else np.uint8)


@given(integers_below_a_byte())
def test_too_few_bytes_are_an_error(case):
    bits, signed, values = case
    values = [*values, 0]
    raw = packed_by_hand(values, bits)
    message = f"{len(values)} elements of {bits} bits need {len(raw)} bytes, got {len(raw) - 1}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        unpack_bits(raw[:-1], bits=bits, count=len(values), signed=signed)


@pytest.mark.parametrize("name", [name for name in BY_NAME if not BY_NAME[name].is_sub_byte])
def test_whole_bytes_are_read_little_endian(name):
    values = np.arange(2).astype(BY_NAME[name].numpy_name)
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    np.testing.assert_array_equal(elements_from_bytes(raw, BY_NAME[name], 2), values)


@pytest.mark.parametrize("name", ["int4", "uint1", "uint2", "uint3", "uint4", "uint6"])
def test_formats_below_a_byte_are_unpacked(name):
    number_format = BY_NAME[name]
    values = [1, 0, 1, 1] if name != "int4" else [-8, 7, -1, 0]
    raw = packed_by_hand(values, number_format.bits)
    assert elements_from_bytes(raw, number_format, 4).tolist() == values


def test_a_whole_byte_format_that_is_too_short_is_an_error():
    with pytest.raises(ValueError, match=r"^3 elements of fp16 need 6 bytes, got 5$"):
        elements_from_bytes(b"\0" * 5, BY_NAME["fp16"], 3)


def test_an_unknown_format_is_named_with_those_that_are_known():
    with pytest.raises(ArtifactError) as caught:
        format_of(41, where='Value "x"')
    assert caught.value.message == (
        'Value "x" has element type 41 of MIL.proto, which the Core ML evaluator does not read (it reads bool, fp16, '
        "fp32, fp64, int8, int16, int32, int64, int4, uint8, uint16, uint32, uint64, uint4, uint2, uint1, uint6, "
        "uint3). Export for iOS 18 or earlier."
    )
