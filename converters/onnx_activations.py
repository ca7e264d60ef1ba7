"""Activations that a file spells out in arithmetic, under their own names.

A hard swish is x * clip(x + 3, 0, 6) / 6 to exporters of operator sets before 14: Paddle's, and PyTorch's old one.
Static INT8 would give each of these results a grid of its own: three more roundings, of which the product's is over six
times the range of what comes out, and nothing would show that no value of x below -3 is told from another. Named, it is
an activation between two grids, and the ranges of what activations read apply (`quantization.activation_ranges`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.converters.onnx_scalars import number_in, numbers_of, only_reader, readers_of

if TYPE_CHECKING:
    import onnx

_SAME: Final = 1e-5
"""Difference of two constants, relative to their size, that rounding to float32 makes."""


def name_activations(graph: onnx.GraphProto) -> None:
    """Writes every spelled-out hard sigmoid as one node, and a hard swish as x times that; `graph` is changed in place.

    clip(x + b, 0, c) / c is HardSigmoid(x) with alpha 1 / c and beta b / c, whether it is divided (or multiplied by the
    reciprocal) before something is multiplied by it or after.
    """
    parts = _Parts.of(graph)
    gone: set[str] = set()
    for clip in graph.node:
        bound, shifted = parts.upper_bound(clip), parts.shifted(clip)
        reader = parts.only_reader(clip)
        if bound is None or shifted is None or reader is None:
            continue
        added, source, offset = shifted
        if parts.is_divided(reader, bound):
            _become_gate(reader, source, offset, bound)
            gone |= {added.output[0], clip.output[0]}
        elif reader.op_type == "Mul":
            last = parts.only_reader(reader)
            if last is not None and parts.is_divided(last, bound):
                _become_gate(clip, source, offset, bound)
                reader.output[0], name = last.output[0], reader.output[0]
                last.output[0] = name
                gone |= {added.output[0], name}
    kept = [node for node in graph.node if node.output[0] not in gone]
    del graph.node[:]
    graph.node.extend(kept)


def _become_gate(node: onnx.NodeProto, source: str, offset: float, bound: float) -> None:
    """Makes a node the hard sigmoid of `source`; it keeps its name and its result."""
    import onnx

    gate = onnx.helper.make_node(
        "HardSigmoid", [source], list(node.output), node.name, alpha=1 / bound, beta=offset / bound
    )
    node.CopyFrom(gate)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Who reads and writes what in a graph.

    Attributes:
        numbers: Constants of one value, by name.
        writers: Node that writes each value.
        readers: Nodes that read each value; None for the graph itself, whose output it is.
    """

    numbers: Mapping[str, float]
    writers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, list[onnx.NodeProto | None]]

    @staticmethod
    def of(graph: onnx.GraphProto) -> _Parts:
        """Returns those of a graph."""
        return _Parts(
            numbers=numbers_of(graph),
            writers={name: node for node in graph.node for name in node.output},
            readers=readers_of(graph),
        )

    def only_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Returns the node that reads the result, None where several do or the graph gives it."""
        return only_reader(node.output[0], self.readers)

    def upper_bound(self, node: onnx.NodeProto) -> float | None:
        """Returns c of clip(..., 0, c), None for any other node."""
        if node.op_type != "Clip" or len(node.input) != 3:
            return None
        low, high = (self.numbers.get(name) for name in node.input[1:])
        return high if low == 0 and high is not None and high > 0 else None

    def shifted(self, clip: onnx.NodeProto) -> tuple[onnx.NodeProto, str, float] | None:
        """Returns the sum that a clip reads, what of it is no constant, and the constant; None for anything else."""
        added = self.writers.get(clip.input[0])
        if added is None or added.op_type != "Add" or self.only_reader(added) is None:
            return None
        constants = [name for name in added.input if name in self.numbers]
        others = [name for name in added.input if name not in self.numbers]
        return (added, others[0], self.numbers[constants[0]]) if len(constants) == len(others) == 1 else None

    def is_divided(self, node: onnx.NodeProto, bound: float) -> bool:
        """Returns True for x / bound and x * (1 / bound)."""
        if node.op_type == "Div":
            divisor = self.numbers.get(node.input[1])
        elif node.op_type == "Mul":
            factor = number_in(node, self.numbers)
            divisor = 1 / factor if factor else None
        else:
            divisor = None
        return divisor is not None and math.isclose(divisor, bound, rel_tol=_SAME)
