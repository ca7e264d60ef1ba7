from __future__ import annotations

import struct

import flatbuffers
import hypothesis
import hypothesis.strategies as st
import pytest

from edgekit.sources.flatbuffer import Table


def build(numbers: list[int], text: str, child: int | None) -> bytes:
    """A root table: 0 an int, 1 a string, 2 a vector of ints, 3 a table with one int, 4 a vector of that table, 5 "
    "bytes."""
    builder = flatbuffers.Builder(0)
    string = builder.CreateString(text)
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependInt32(number)
    vector = builder.EndVector()
    data = builder.CreateByteVector(text.encode())
    inner = tables = None
    if child is not None:
        builder.StartObject(1)
        builder.PrependInt32Slot(0, child, 0)
        inner = builder.EndObject()
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(inner)
        tables = builder.EndVector()
    builder.StartObject(6)
    builder.PrependInt32Slot(0, len(numbers), 0)
    builder.PrependUOffsetTRelativeSlot(1, string, 0)
    builder.PrependUOffsetTRelativeSlot(2, vector, 0)
    if inner is not None:
        builder.PrependUOffsetTRelativeSlot(3, inner, 0)
        builder.PrependUOffsetTRelativeSlot(4, tables, 0)
    builder.PrependUOffsetTRelativeSlot(5, data, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


integers = st.integers(-(2**31), 2**31 - 1)


@hypothesis.given(numbers=st.lists(integers, max_size=9), text=st.text(max_size=20), child=st.none() | integers)
def test_what_the_reference_builder_wrote_is_read(numbers, text, child):
    table = Table.root(build(numbers, text, child))
    assert table.number(0, "i") == len(numbers)
    assert table.text(1) == text
    assert table.numbers(2, "i") == tuple(numbers)
    inner = table.table(3)
    assert (None if inner is None else inner.number(0, "i")) == child
    assert [one.number(0, "i") for one in table.tables(4)] == ([] if child is None else [child])
    assert bytes(table.span(5)) == text.encode()


def test_a_field_that_is_absent_has_its_default():
    table = Table.root(build([], "", None))
    assert (table.number(9, "i", 7), table.text(9), table.numbers(9, "i"), table.table(9)) == (7, "", (), None)


@hypothesis.given(st.data())
def test_damaged_bytes_raise_and_never_read_elsewhere(data):
    whole = bytearray(build([1, 2, 3], "text", 5))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        table = Table.root(cut)
        table.text(1)
        table.span(5)
        table.numbers(2, "b")
        inner = table.table(3)
        if inner is not None:
            inner.number(0, "i")
    except (struct.error, IndexError):
        pass


def test_a_vector_that_leaves_the_file_is_refused():
    data = bytearray(build([1], "text", None))
    length = (4).to_bytes(4, "little") + b"text"
    assert length in data
    data = data.replace(length, (1000).to_bytes(4, "little") + b"text")
    with pytest.raises(IndexError, match=r"^a vector of 1000 bytes at \d+ leaves the file of \d+ bytes$"):
        Table.root(bytes(data)).span(1)


def test_an_offset_before_the_file_is_refused():
    with pytest.raises(IndexError, match=r"^an offset of -?\d+ leaves the file$"):
        Table(struct.pack("<i", 100), 0).number(0, "i")
