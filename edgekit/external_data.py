"""Which files an .onnx keeps its weights in, beside itself.

Read from the bytes, without the package onnx: sizes and hashes of artifacts are wanted where no framework is installed.
The numbers below are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgekit.files.protobuf_message import Message

_TENSOR: Final = "tensor"
_BELOW: Final = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: "entry"},
}
"""Message to the fields that may lead to a tensor, and what they hold."""

_DEEPEST: Final = 100


def external_files(path: Path) -> tuple[str, ...]:
    """Returns the locations that the tensors of an .onnx name, each once, sorted; as they are written in the file.

    A file that is no ONNX has none as far as it can be read: its runtime says what is wrong with it.
    """
    if path.suffix.lower() != ".onnx" or not path.is_file() or path.stat().st_size == 0:
        return ()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return tuple(sorted(set(_locations(Message(data=content, start=0, end=len(content)), "model", 0))))
        except ValueError:
            return ()


def _locations(data: Message, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    below = _BELOW[message]
    for number, value in data.parts():
        kind = below.get(number)
        if kind == "entry":
            entry = {key: text.text("strict") for key, text in value.parts()}
            if entry.get(1) == "location":
                yield entry.get(2, "")
        elif kind is not None:
            yield from _locations(value, kind, depth + 1)
