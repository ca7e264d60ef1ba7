"""The graph that an ExecuTorch program hands to XNNPACK: read, and changed so that inner values are outputs.

The graph is a flatbuffer behind a small header (ExecuTorch's backends/xnnpack: XNNHeader.h and schema.fbs, file
identifier XN01). `flatc`, which ExecuTorch brings, tells its contents as JSON, with floats cut to six digits. So exact
scales are read from the bytes, and the bytes are changed in place: a value that becomes an output gets a new
XNNTensorValue at the end of the buffer, with the flag and the number of an external output.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.errors import ArtifactError

_HEADER: Final = struct.Struct("<4x4sHIIIQ")  # magic, header bytes, graph offset, graph bytes, data offset, data bytes
_MAGIC: Final = b"XH00"
_ALIGNMENT: Final = 16
_OUTPUT_FLAG: Final = 2  # XNN_VALUE_FLAG_EXTERNAL_OUTPUT
_GRAPH_VALUES, _GRAPH_EXTERNS, _GRAPH_OUTPUTS = 2, 3, 5  # fields of XNNGraph
_DATATYPES: Final[Mapping[str, tuple[int, str]]] = {
    "xnn_datatype_fp32": (1, "float32"),
    "xnn_datatype_fp16": (2, "float16"),
    "xnn_datatype_qint8": (3, "int8"),
    "xnn_datatype_quint8": (4, "uint8"),
}
"""Types of values that can be read, each with its number in the schema and NumPy's name."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InnerValue:
    """One value that the graph computes.

    Attributes:
        index: In the graph's list of values, which is also its place there.
        identifier: The graph's own number of it.
        operator: Type of the node that makes it.
        shape: Sizes as XNNPACK holds them: convolutions are NHWC.
        dtype: NumPy's name.
        scale: 0 for a float value.
        zero_point: See scale.
    """

    index: int
    identifier: int
    operator: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


@final
class XNNPACKGraph:
    """One delegate's payload.

    Args:
        blob: The payload: header, flatbuffer, constant data.

    Raises:
        ArtifactError: it is no XNNPACK payload of the form that this reader knows.
    """

    def __init__(self, blob: bytes) -> None:
        if len(blob) < _HEADER.size or blob[4:8] != _MAGIC:
            raise ArtifactError(
                "An XNNPACK payload of the program has no XH00 header: another version of ExecuTorch wrote it. "
                "Export the program again with the ExecuTorch that is installed."
            )
        _, _, start, size, self._data_start, self._data_size = _HEADER.unpack_from(blob)
        self._blob = blob
        self._bytes = bytearray(blob[start : start + size])
        self._json = _as_json(bytes(self._bytes))
        self.externs: int = self._json["num_externs"]
        self.values: tuple[InnerValue, ...] = tuple(self._inner_values())
        """What inner nodes compute, in order of execution: no constants, no inputs and outputs of the graph."""

    def external_values(self) -> dict[int, int]:
        """Returns the graph's number of each external value (input or output) by its place among the arguments."""
        found: dict[int, int] = {}
        for value in self._json["xvalues"]:
            tensor = _tensor(value)
            if tensor["flags"]:
                found[int(tensor["external_id"])] = int(tensor["id_out"])
        return found

    def readers(self, identifier: int) -> list[tuple[str, int]]:
        """Returns (node type, number of its result) of the nodes that read a value."""
        return [
            (node["xnode_union_type"], int(node["xnode_union"]["output_id"]))
            for node in self._json["xnodes"]
            if identifier in _node_inputs(node["xnode_union"]) and "output_id" in node["xnode_union"]
        ]

    def source(self, identifier: int) -> tuple[str, int] | None:
        """Returns (node type, number of its first input) of the node that makes a value, None for an input."""
        for node in self._json["xnodes"]:
            if node["xnode_union"].get("output_id") == identifier:
                inputs = _node_inputs(node["xnode_union"])
                return node["xnode_union_type"], inputs[0] if inputs else -1
        return None

    def with_outputs(self, chosen: Sequence[InnerValue]) -> bytes:
        """Returns the payload with `chosen` as further outputs, in that order, after the arguments it has."""
        data = bytearray(self._bytes)
        root = _indirect(data, 0)
        for place, value in enumerate(chosen):
            self._make_external(data, value, self.externs + place)
        struct.pack_into("<I", data, _required(data, root, _GRAPH_EXTERNS), self.externs + len(chosen))
        outputs = [*self._json["output_ids"], *(value.identifier for value in chosen)]
        _pad(data)
        struct.pack_into(
            "<I",
            data,
            _required(data, root, _GRAPH_OUTPUTS),
            len(data) - _required(data, root, _GRAPH_OUTPUTS),
        )
        data += struct.pack(f"<{len(outputs) + 1}I", len(outputs), *outputs)
        return self._packed(bytes(data))

    def _make_external(self, data: bytearray, value: InnerValue, external: int) -> None:
        """Gives a value a new XNNTensorValue at the end of the buffer: its old table may lack the field of the flag."""
        root = _indirect(data, 0)
        entry = _elements(data, root, _GRAPH_VALUES)[value.index]
        slot = _required(data, entry, 1)  # XValue.xvalue_union
        if value.scale:
            slot = _required(data, _indirect(data, slot), 0)  # XNNQuantizedTensorValue.tensor_value
        tensor = _tensor(self._json["xvalues"][value.index])
        dims = [int(size) for size in tensor["dims"]]
        _pad(data)
        # vtable of seven fields: datatype, num_dims, dims, constant_buffer_idx, external_id, flags, id_out
        vtable = struct.pack("<9H", 18, 32, 28, 4, 8, 12, 16, 20, 24)
        start = len(data)
        table = start + 20
        number = _DATATYPES[tensor["datatype"]][0]
        body = struct.pack(
            "<iIIIIIIhxx", table - start, len(dims), 24, 0, external, _OUTPUT_FLAG, value.identifier, number
        )
        data += vtable + b"\0\0" + body + struct.pack(f"<{len(dims) + 1}I", len(dims), *dims)
        struct.pack_into("<I", data, slot, table - slot)

    def _packed(self, graph: bytes) -> bytes:
        header = _HEADER.size + -_HEADER.size % _ALIGNMENT
        padded = graph + b"\0" * (-len(graph) % _ALIGNMENT)
        start = header + len(padded)
        packed = _HEADER.pack(_MAGIC, _HEADER.size, header, len(graph), start, self._data_size)
        constants = self._blob[self._data_start : self._data_start + self._data_size]
        return packed.ljust(header, b"\0") + padded + constants

    def _inner_values(self) -> list[InnerValue]:
        places = {int(_tensor(value)["id_out"]): i for i, value in enumerate(self._json["xvalues"])}
        found: list[InnerValue] = []
        for node in self._json["xnodes"]:
            made = node["xnode_union"]
            for key in ("output_id", "output1_id", "output2_id", "output3_id", "output4_id"):
                index = places.get(made.get(key, -1))
                value = self._value(index, node["xnode_union_type"]) if index is not None else None
                if value is not None:
                    found.append(value)
        return found

    def _value(self, index: int, operator: str) -> InnerValue | None:
        value = self._json["xvalues"][index]
        tensor = _tensor(value)
        quantized = value["xvalue_union_type"] == "XNNQuantizedTensorValue"
        per_tensor = quantized and value["xvalue_union"]["quant_params_type"] == "PerTensorQuant"
        if tensor["flags"] or tensor["datatype"] not in _DATATYPES or quantized != per_tensor:
            return None
        scale, zero_point = self._parameters(index) if per_tensor else (0.0, 0)
        return InnerValue(
            index=index,
            identifier=int(tensor["id_out"]),
            operator=operator.removeprefix("XNN"),
            shape=tuple(int(size) for size in tensor["dims"]),
            dtype=_DATATYPES[tensor["datatype"]][1],
            scale=scale,
            zero_point=zero_point,
        )

    def _parameters(self, index: int) -> tuple[float, int]:
        """Returns the exact scale and the zero point of a value with one grid."""
        data = self._bytes
        entry = _elements(data, _indirect(data, 0), _GRAPH_VALUES)[index]
        value = _indirect(data, _required(data, entry, 1))
        parameters = _indirect(data, _required(data, value, 2))
        scale, zero = _field(data, parameters, 0), _field(data, parameters, 1)
        return (
            float(struct.unpack_from("<f", data, scale)[0]) if scale else 0.0,
            int(struct.unpack_from("<i", data, zero)[0]) if zero else 0,
        )


def _as_json(flatbuffer: bytes) -> dict[str, Any]:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize
    from executorch.exir._serialize import _flatbuffer

    tools: Any = _flatbuffer
    schema: Any = xnnpack_graph_serialize
    with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(schema._get_schema_bytes())  # noqa: SLF001  no public reader exists
        (folder / "graph.bin").write_bytes(flatbuffer)
        tools._flatc_decompile(name, str(folder / "schema.fbs"), str(folder / "graph.bin"), ["--raw-binary"])  # noqa: SLF001
        text = (folder / "graph.json").read_text()
    # flatc writes open limits of clamps as inf, which Python's reader calls Infinity.
    text = re.sub(r"([:\[,]\s*-?)inf\b", r"\1Infinity", text)
    found: dict[str, Any] = json.loads(re.sub(r"([:\[,]\s*-?)nan\b", r"\1NaN", text))
    return found


def _tensor(value: Mapping[str, Any]) -> Mapping[str, Any]:
    union: Mapping[str, Any] = value["xvalue_union"]
    found: Mapping[str, Any] = union.get("tensor_value", union)
    return found


def _node_inputs(node: Mapping[str, Any]) -> list[int]:
    return [int(node[key]) for key in node if key.startswith("input") and key.endswith("id")]


def _pad(data: bytearray) -> None:
    data += b"\0" * (-len(data) % 4)


def _indirect(data: bytes | bytearray, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes | bytearray, table: int, number: int) -> int | None:
    """Returns where field `number` of a flatbuffer table lies, None where it is absent."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, vtable)[0])
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0]) if slot < size else 0
    return table + offset if offset else None


def _required(data: bytes | bytearray, table: int, number: int) -> int:
    at = _field(data, table, number)
    if at is None:
        raise ArtifactError(
            f"An XNNPACK graph of the program lacks field {number} of a table. "
            "Export the program again with the ExecuTorch that is installed."
        )
    return at


def _elements(data: bytes | bytearray, table: int, number: int) -> list[int]:
    """Returns where the tables of a vector lie."""
    start = _indirect(data, _required(data, table, number))
    count = int(struct.unpack_from("<I", data, start)[0])
    return [_indirect(data, start + 4 + 4 * i) for i in range(count)]
