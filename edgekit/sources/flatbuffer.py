"""A minimal reader of FlatBuffers: tables, vectors, strings, numbers; enough for a TFLite file, and bounds-checked.

A table begins with a signed offset back to its vtable; the vtable holds its own size, the table's size, and one 16-bit
offset a field (0: absent). Vectors and strings begin with a 32-bit length. See https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A table inside a buffer.

    Args:
        data: The whole file.
        position: Where the table begins.

    Every method raises `struct.error` or `IndexError` where an offset points outside the buffer.
    """

    data: bytes
    position: int

    @staticmethod
    def root(data: bytes) -> Table:
        """Returns the root table."""
        return Table(data, _read(data, "I", 0))

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Returns an integer field; `code` is a struct format: b, B, h, H, i, I, q, Q."""
        place = self._place(field)
        return default if place is None else _read(self.data, code, place)

    def text(self, field: int) -> str:
        """Returns a string field, empty where it is absent."""
        return bytes(self.span(field)).decode("utf-8", errors="replace")

    def table(self, field: int) -> Table | None:
        """Returns a table field, or None."""
        place = self._place(field)
        return None if place is None else Table(self.data, place + _read(self.data, "I", place))

    def tables(self, field: int) -> Iterator[Table]:
        """Yields the tables of a vector field."""
        start, length = self._vector(field)
        for i in range(length):
            place = start + 4 * i
            yield Table(self.data, place + _read(self.data, "I", place))

    def numbers(self, field: int, code: str) -> tuple[int, ...]:
        """Returns the numbers of a vector field."""
        start, length = self._vector(field)
        return struct.unpack_from(f"<{length}{code}", self.data, start)

    def span(self, field: int) -> memoryview:
        """Returns the bytes of a vector of bytes."""
        start, length = self._vector(field)
        if start + length > len(self.data):
            raise IndexError(f"a vector of {length} bytes at {start} leaves the file of {len(self.data)} bytes")
        return memoryview(self.data)[start : start + length]

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + _read(self.data, "I", place)
        return start + 4, _read(self.data, "I", start)

    def _place(self, field: int) -> int | None:
        vtable = self.position - _read(self.data, "i", self.position)
        slot = 4 + 2 * field
        if slot >= _read(self.data, "H", vtable):
            return None
        offset = _read(self.data, "H", vtable + slot)
        return self.position + offset if offset else None


def _read(data: bytes, code: str, place: int) -> int:
    if place < 0:  # struct would count from the end
        raise IndexError(f"an offset of {place} leaves the file")
    value: int = struct.unpack_from(f"<{code}", data, place)[0]
    return value
