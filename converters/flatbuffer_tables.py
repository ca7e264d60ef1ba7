"""Flatbuffers by field number: the few tables of a public schema whose generated code nobody ships alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, final


class _Builder(Protocol):
    """What is used of `flatbuffers.Builder`, which ships no types."""

    def CreateString(self, text: str, /) -> int: ...  # noqa: N802  the library's names
    def StartObject(self, fields: int, /) -> None: ...  # noqa: N802
    def EndObject(self) -> int: ...  # noqa: N802
    def StartVector(self, size: int, count: int, alignment: int, /) -> int: ...  # noqa: N802
    def EndVector(self) -> int: ...  # noqa: N802
    def PrependUOffsetTRelativeSlot(self, field: int, place: int, default: int, /) -> None: ...  # noqa: N802
    def PrependUint8Slot(self, field: int, value: int, default: int, /) -> None: ...  # noqa: N802
    def PrependUint32Slot(self, field: int, value: int, default: int, /) -> None: ...  # noqa: N802
    def PrependFloat32Slot(self, field: int, value: float, default: float, /) -> None: ...  # noqa: N802
    def PrependByte(self, value: int, /) -> None: ...  # noqa: N802
    def PrependFloat32(self, value: float, /) -> None: ...  # noqa: N802
    def PrependUint32(self, value: int, /) -> None: ...  # noqa: N802
    def PrependUOffsetTRelative(self, place: int, /) -> None: ...  # noqa: N802
    def Finish(self, place: int, /, file_identifier: bytes) -> int: ...  # noqa: N802
    def Output(self) -> bytearray: ...  # noqa: N802


Field = Callable[[_Builder], None]
"""Writes one field of a table that has been begun."""


def offset(field: int, place: int) -> Field:
    """Returns a field that points to something written before."""
    return lambda builder: builder.PrependUOffsetTRelativeSlot(field, place, 0)


def byte(field: int, value: int) -> Field:
    """Returns a field of 8 bits: a number, an enumeration, a truth value."""
    return lambda builder: builder.PrependUint8Slot(field, value, 0)


def number(field: int, value: int) -> Field:
    """Returns a field of 32 bits for a whole number from 0 on."""
    return lambda builder: builder.PrependUint32Slot(field, value, 0)


def real(field: int, value: float) -> Field:
    """Returns a field for a float."""
    return lambda builder: builder.PrependFloat32Slot(field, value, 0.0)


@final
class TableWriter:
    """Writes one flatbuffer; each method but `finish` returns the place of what it wrote."""

    def __init__(self) -> None:
        import flatbuffers  # type: ignore[import-untyped]  # it ships no types

        self._builder: _Builder = flatbuffers.Builder(1024)

    def text(self, text: str) -> int:
        """Writes a string."""
        return self._builder.CreateString(text)

    def table(self, count: int, *fields: Field) -> int:
        """Writes a table of the schema's `count` fields, of which these are given."""
        self._builder.StartObject(count)
        for write in fields:
            write(self._builder)
        return self._builder.EndObject()

    def tables(self, places: Sequence[int]) -> int:
        """Writes a vector of tables."""
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return self._builder.EndVector()

    def floats(self, values: Sequence[float]) -> int:
        """Writes a vector of floats."""
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return self._builder.EndVector()

    def numbers(self, values: Sequence[int]) -> int:
        """Writes a vector of whole numbers from 0 on."""
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependUint32(value)
        return self._builder.EndVector()

    def content(self, data: bytes) -> int:
        """Writes bytes where a reader can cast them to any type: at a multiple of 16."""
        self._builder.StartVector(1, len(data), 16)
        for value in reversed(data):
            self._builder.PrependByte(value)
        return self._builder.EndVector()

    def finish(self, place: int, identifier: bytes) -> bytes:
        """Returns the buffer whose root is the table at `place`."""
        self._builder.Finish(place, file_identifier=identifier)
        return bytes(self._builder.Output())
