"""Writes an ONNX file weight by weight: protobuf would hold all weights twice more to make its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.converters.onnx_shapes import copy_field

if TYPE_CHECKING:
    import onnx

_LENGTH_DELIMITED: Final = 2
"""Wire type of messages in messages: a tag, the length, the bytes."""


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Writes the bytes of `model.SerializeToString(deterministic=True)`: fields by their numbers."""
    graph = model.graph
    # Tensor by tensor: protobuf finds a size by making the bytes.
    sizes = [tensor.ByteSize() for tensor in graph.initializer]
    heads = [_head(graph, "initializer", size) for size in sizes]
    before, behind = _around(graph, "initializer")
    with path.open("wb") as file:
        first, last = _around(model, "graph")
        total = len(before) + sum(sizes) + sum(map(len, heads)) + len(behind)
        file.write(first + _head(model, "graph", total) + before)
        for head, tensor in zip(heads, graph.initializer, strict=True):
            file.write(head)
            file.write(tensor.SerializeToString(deterministic=True))
        file.write(behind + last)


def _around(message: Any, large: str) -> tuple[bytes, bytes]:
    """Returns the bytes of the fields before and behind the field `large`."""
    number = message.DESCRIPTOR.fields_by_name[large].number
    before, behind = type(message)(), type(message)()
    for field, value in message.ListFields():
        if field.name != large:
            copy_field(before if field.number < number else behind, field.name, value)
    return before.SerializeToString(deterministic=True), behind.SerializeToString(deterministic=True)


def _head(message: Any, name: str, size: int) -> bytes:
    """Returns what stands before a message inside of a message: which field it is, and how many bytes follow."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    """Returns a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
