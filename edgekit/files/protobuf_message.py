"""Reads the fields of a protobuf message in place, without a schema: files are read where no framework is installed.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, final

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final = {1: 8, 5: 4}
"""Wire type to the bytes of a field of fixed size."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Where a message, or the bytes of a field, lies in a mapped file.

    Places and not views: an error that leaves the reader must not keep the file from being closed.
    """

    data: mmap.mmap
    start: int
    end: int

    def text(self, errors: str = "replace") -> str:
        """Returns it as text; `errors` is Python's word for what is no UTF-8."""
        return self.data[self.start : self.end].decode("utf-8", errors)

    def texts(self, wanted: Collection[int]) -> list[tuple[int, str]]:
        """Returns (field, text) of the fields in `wanted`; others may hold whole tensors."""
        return [(number, value.text()) for number, value in self.parts() if number in wanted]

    def parts(self) -> Iterator[tuple[int, Message]]:
        """Yields (field number, bytes) of the fields that hold bytes: text, messages, packed numbers.

        Raises:
            ValueError: it is cut off, or no protobuf message.
        """
        return ((number, value) for number, value in self.fields() if isinstance(value, Message))

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Yields (field number, value) of the numbers and of the fields that hold bytes.

        Raises:
            ValueError: it is cut off, or no protobuf message.
        """
        at = self.start
        while at < self.end:
            key, at = self._varint(at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = self._varint(at)
                yield number, value
            elif wire == _BYTES:
                size, at = self._varint(at)
                if at + size > self.end:
                    raise ValueError(f"field {number} is cut off")
                yield number, Message(data=self.data, start=at, end=at + size)
                at += size
            elif wire in _FIXED:
                at += _FIXED[wire]
            else:
                raise ValueError(f"wire type {wire} at byte {at}")

    def varints(self) -> Iterator[int]:
        """Yields packed numbers."""
        at = self.start
        while at < self.end:
            value, at = self._varint(at)
            yield value

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= self.end:
                raise ValueError("the message is cut off")
            byte = self.data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
