"""How tensors are spelled in languages whose words do not depend on the runtime: Python and C++."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgekit.formats.format import Words


def _cpp(element: str, stored: str, onnx_type: str, scalar_type: str) -> Words:
    return {"element": element, "stored": stored, "onnx_type": onnx_type, "scalar_type": scalar_type}


CPP: Final[Mapping[str, Words]] = {
    "float32": _cpp("float", "float", "FLOAT", "Float"),
    "float64": _cpp("double", "double", "DOUBLE", "Double"),
    "int32": _cpp("std::int32_t", "std::int32_t", "INT32", "Int"),
    "int64": _cpp("std::int64_t", "std::int64_t", "INT64", "Long"),
    "int8": _cpp("std::int8_t", "std::int8_t", "INT8", "Char"),
    "uint8": _cpp("std::uint8_t", "std::uint8_t", "UINT8", "Byte"),
    "bool": _cpp("std::uint8_t", "std::uint8_t", "BOOL", "Bool"),  # std::vector<bool> has no data()
    "int8q": _cpp("float", "std::int8_t", "INT8", "Char"),
    "uint8q": _cpp("float", "std::uint8_t", "UINT8", "Byte"),
}

PYTHON: Final[Mapping[str, Words]] = {
    name: {}
    for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "int8q", "uint8q")
}
"""NumPy holds them all."""
