"""Reads a TFLite file: operators, tensors and their grids of the first subgraph, by hand from the flatbuffer.

Field numbers are those of TFLite's schema (schema.fbs).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.runners.executorch_session import Table
from edgekit.validators.runners.tflite_session import Node, read_metadata
from edgekit.validators.stored_facts.facts import StoredFacts
from edgekit.workers.structure import structure

_CODES, _SUBGRAPHS = 1, 2
_DETAILS_TYPE, _DETAILS, _BLOCKWISE = 4, 5, 2
"""Fields of a tensor's quantization, and the kind of details that groups of weights have."""

_KINDS: Final[Mapping[int, str]] = {
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    7: "EMBEDDING_LOOKUP",
    9: "FULLY_CONNECTED",
    16: "LSTM",
    24: "RNN",
    35: "UNIDIRECTIONAL_SEQUENCE_RNN",
    44: "UNIDIRECTIONAL_SEQUENCE_LSTM",
    52: "BIDIRECTIONAL_SEQUENCE_LSTM",
    53: "CAST",
    67: "TRANSPOSE_CONV",
    114: "QUANTIZE",
    126: "BATCH_MATMUL",
    132: "CONV_3D",
    141: "CONV_3D_TRANSPOSE",
}
"""Builtin operators that multiply or look up, and those between integers and floats; others only have to be told from
these."""

_TYPES: Final[Mapping[int, type[np.generic]]] = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
    10: np.float64,
    12: np.uint64,
    15: np.uint32,
    16: np.uint16,
    17: np.int8,
}
"""Tensor types; the interpreters too call 4-bit integers int8."""


def read(path: Path) -> StoredFacts:
    """Returns what the file says."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = Table.root(data)
        kinds = [_kind(code) for code in model.tables(_CODES)]
        graph = model.tables(_SUBGRAPHS)[0]
        stored = graph.tables(0)
        tensors = {i: _tensor(item, stored) for i, item in enumerate(stored)}
        given = set(graph.numbers(1))
        nodes = [
            Node(
                i,
                {"op_name": kinds[item.number(0, "<I")], "inputs": item.numbers(1), "outputs": item.numbers(2)},
                tensors,
            )
            for i, item in enumerate(graph.tables(3))
        ]
    made = {i: node for node in nodes for i in node.outputs}
    listed = [node.described(made, given) for node in nodes]
    return StoredFacts(
        metadata=read_metadata(path),
        operators=tuple(structure(item, ArtifactOperator, path.name) for item in listed),
    )


def _kind(code: Table) -> str:
    number = max(code.number(0, "<b"), code.number(3))
    return _KINDS.get(number, f"operator {number}")


def _tensor(item: Table, stored: Sequence[Table]) -> dict[str, Any]:
    """Returns a tensor as the interpreters describe it."""
    grid = item.table(4)
    return {
        "name": item.text(3),
        "shape": item.numbers(0),
        "dtype": _TYPES.get(item.number(1, "<b"), np.void),
        "quantization_parameters": {
            "scales": _scales(grid, stored) if grid is not None else [],
            "zero_points": grid.numbers(3, "q") if grid is not None else [],
        },
    }


def _scales(grid: Table, stored: Sequence[Table]) -> Sequence[float]:
    """Returns a tensor's scales; those of groups lie in a tensor of their own, and only their number counts here."""
    groups = grid.table(_DETAILS) if grid.number(_DETAILS_TYPE, "<B") == _BLOCKWISE else None
    if groups is None:
        return grid.numbers(2, "f")
    return [math.nan] * math.prod(stored[groups.number(0)].numbers(0))
