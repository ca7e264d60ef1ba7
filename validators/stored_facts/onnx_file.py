"""Reads an ONNX file: metadata, and what lies behind the weights of its products, by hand from the protobuf.

onnxruntime rewrites the graph before it runs it, and the file has no shapes of what flows: so operators have no work,
only weights, and what is float here is float there. An operator's type and zero point are those of the activation that
it reads.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from edgekit.files.protobuf_message import Message
from edgekit.validators.artifact_operators import Arithmetic, ArtifactOperator
from edgekit.validators.stored_facts.facts import StoredFacts

_GRAPH, _METADATA = 7, 14  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto
_INT32_DATA, _RAW_DATA = 5, 9  # of TensorProto
_LONGEST_NUMBER: Final = 10
"""Bytes of a number in protobuf, at most."""

_EIGHT_BITS: Final[Mapping[int, str]] = {2: "uint8", 3: "int8"}
"""TensorProto.DataType of zero points."""

_ENTRY: Final = (1, 2)  # key and value of StringStringEntryProto
_NODE_TEXTS: Final = (1, 2, 3, 4)  # inputs, outputs, name and op_type of NodeProto

_BITS: Final[Mapping[int, int]] = {1: 32, 2: 8, 3: 8, 10: 16, 11: 64, 16: 16, 21: 4, 22: 4}
"""TensorProto.DataType to bits, of what weights are stored in."""

_PRODUCTS: Final[Mapping[str, int]] = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
}
"""Operators that multiply, and which input holds the weights; not those whose weights are packed or joined."""

_CARRIERS: Final = frozenset({"DequantizeLinear", "Transpose", "Reshape", "Identity", "Cast", "Unsqueeze", "Squeeze"})
_DYNAMIC: Final = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    bits: int
    shape: tuple[int, ...]
    dtype: str = ""
    zero_point: int | None = None


def read(path: Path) -> StoredFacts:
    """Returns what the file says."""
    metadata: dict[str, str] = {}
    nodes: list[_Node] = []
    stored: dict[str, _Stored] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, value in Message(data=data, start=0, end=len(data)).parts():
            if number == _METADATA:
                entry = dict(value.texts(_ENTRY))
                metadata[entry.get(1, "")] = entry.get(2, "")
            elif number == _GRAPH:
                _read_graph(value, nodes, stored)
    return StoredFacts(metadata=metadata, operators=tuple(_operators(nodes, stored)), is_exact=False)


def _read_graph(graph: Message, nodes: list[_Node], stored: dict[str, _Stored]) -> None:
    for number, value in graph.parts():
        if number == _NODE:
            texts = value.texts(_NODE_TEXTS)
            nodes.append(
                _Node(
                    kind=next((text for field, text in texts if field == 4), ""),
                    name=next((text for field, text in texts if field == 3), ""),
                    inputs=tuple(text for field, text in texts if field == 1),
                    outputs=tuple(text for field, text in texts if field == 2),
                )
            )
        elif number == _INITIALIZER:
            name, tensor = _tensor(value)
            stored[name] = tensor


def _tensor(message: Message) -> tuple[str, _Stored]:
    sizes: list[int] = []
    kind, name, number_of_8_bits = 0, "", None
    for number, value in message.fields():
        if number == 1:
            sizes += [value] if isinstance(value, int) else list(value.varints())
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number in (_INT32_DATA, _RAW_DATA):
            number_of_8_bits = _number_of_8_bits(value, is_raw=number == _RAW_DATA)
        elif number == 8 and isinstance(value, Message):
            name = value.text()
    dtype = _EIGHT_BITS.get(kind, "")
    zero_point = None
    if dtype and number_of_8_bits is not None:
        zero_point = number_of_8_bits - 256 if dtype == "int8" and number_of_8_bits > 127 else number_of_8_bits
    return name, _Stored(bits=_BITS.get(kind, 0), shape=tuple(sizes), dtype=dtype, zero_point=zero_point)


def _number_of_8_bits(value: int | Message, *, is_raw: bool) -> int | None:
    """Returns the low 8 bits of a tensor's only number; None for one with more numbers."""
    if isinstance(value, int):
        return value & 255
    if value.end - value.start > _LONGEST_NUMBER:
        return None
    numbers = list(value.data[value.start : value.end]) if is_raw else list(value.varints())
    return numbers[0] & 255 if len(numbers) == 1 else None


def _operators(nodes: list[_Node], stored: Mapping[str, _Stored]) -> Iterator[ArtifactOperator]:
    """Yields the products that have stored weights."""
    made = {name: node for node in nodes for name in node.outputs}
    for node in nodes:
        place = _PRODUCTS.get(node.kind)
        if place is None or place >= len(node.inputs):
            continue
        origin = node.inputs[place]
        while origin not in stored and origin in made and made[origin].kind in _CARRIERS:
            origin = made[origin].inputs[0]
        weight = stored.get(origin)
        if weight is None or not weight.bits or ("Conv" not in node.kind and 1 in weight.shape[-2:]):
            continue  # a column times a row sums nothing: it is how zero points are taken out
        activation = _grid(node, made, stored)
        yield ArtifactOperator(
            name=node.name or node.kind,
            kind=node.kind,
            arithmetic=_arithmetic(node, made, weight),
            macs=None,
            weights=math.prod(weight.shape),
            weight_bits=weight.bits,
            dtype=activation.dtype if activation is not None else "",
            zero_point=activation.zero_point if activation is not None else None,
        )


def _grid(node: _Node, made: Mapping[str, _Node], stored: Mapping[str, _Stored]) -> _Stored | None:
    """Returns the zero point of the pair before a product; None without a pair."""
    giver = made.get(node.inputs[0])
    if giver is None or giver.kind != "DequantizeLinear" or len(giver.inputs) < 3:
        return None
    return stored.get(giver.inputs[2])


def _arithmetic(node: _Node, made: Mapping[str, _Node], weight: _Stored) -> Arithmetic:
    if node.kind in _DYNAMIC:
        return "dynamic"
    if node.kind.startswith("QLinear"):
        return "integer"
    giver = made.get(node.inputs[0])
    between = giver is not None and giver.kind == "DequantizeLinear" and weight.bits <= 8
    return "integer" if between else "float"
