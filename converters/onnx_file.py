"""Writes an ONNX file weight by weight: protobuf would hold all weights twice more to make its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from edgekit.converters.onnx_shapes import copy_field

if TYPE_CHECKING:
    import onnx

_LENGTH_DELIMITED: Final = 2
"""Wire type of messages in messages: a tag, the length, the bytes."""


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Writes the bytes of `model.SerializeToString(deterministic=True)`: fields by their numbers."""
    with path.open("wb") as file:
        before, behind = _around(model, "graph")
        file.write(before)
        _write_head(file, model, "graph", model.graph.ByteSize())
        _write_graph(model.graph, file)
        file.write(behind)


def _write_graph(graph: onnx.GraphProto, file: BinaryIO) -> None:
    before, behind = _around(graph, "initializer")
    file.write(before)
    for tensor in graph.initializer:
        _write_head(file, graph, "initializer", tensor.ByteSize())
        file.write(tensor.SerializeToString(deterministic=True))
    file.write(behind)


def _around(message: Any, large: str) -> tuple[bytes, bytes]:
    """Returns the bytes of the fields before and behind the field `large`."""
    number = message.DESCRIPTOR.fields_by_name[large].number
    before, behind = type(message)(), type(message)()
    for field, value in message.ListFields():
        if field.name != large:
            copy_field(before if field.number < number else behind, field.name, value)
    return before.SerializeToString(deterministic=True), behind.SerializeToString(deterministic=True)


def _write_head(file: BinaryIO, message: Any, name: str, size: int) -> None:
    """Writes what stands before a message inside of a message: which field it is, and how many bytes follow."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    file.write(_varint(number << 3 | _LENGTH_DELIMITED) + _varint(size))


def _varint(value: int) -> bytes:
    """Returns a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
