"""Reads an ONNX file: metadata, and what lies behind the weights of its products, by hand from the protobuf.

onnxruntime rewrites the graph before it runs it, and the file has no shapes of what flows: so operators have no work,
only weights, and what is float here is float there.
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
    kind, name = 0, ""
    for number, value in message.fields():
        if number == 1:
            sizes += [value] if isinstance(value, int) else list(value.varints())
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8 and isinstance(value, Message):
            name = value.text()
    return name, _Stored(bits=_BITS.get(kind, 0), shape=tuple(sizes))


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
        yield ArtifactOperator(
            name=node.name or node.kind,
            kind=node.kind,
            arithmetic=_arithmetic(node, made, weight),
            macs=None,
            weights=math.prod(weight.shape),
            weight_bits=weight.bits,
        )


def _arithmetic(node: _Node, made: Mapping[str, _Node], weight: _Stored) -> Arithmetic:
    if node.kind in _DYNAMIC:
        return "dynamic"
    if node.kind.startswith("QLinear"):
        return "integer"
    giver = made.get(node.inputs[0])
    between = giver is not None and giver.kind == "DequantizeLinear" and weight.bits <= 8
    return "integer" if between else "float"
