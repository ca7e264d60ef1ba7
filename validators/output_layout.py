"""What the float model's graph says about the values of its outputs: which were joined, which are shares of one.

An INT8 grid is as wide as the widest value it holds. Whether a channel's values are large or small can only be said
against what the channel was before it was joined with others: boxes in pixels say nothing about scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, Operator

_JOINS: Final = frozenset({"cat", "concat", "concatenate", "concatenation", "concatv2"})

_BOUNDED: Final = frozenset({"sigmoid", "softmax", "logistic", "hard_sigmoid", "hardsigmoid"})
"""Operators whose results lie between 0 and 1: their own 8-bit grid has a step of 1/256."""

_CARRIERS: Final = frozenset(
    {"view", "reshape", "permute", "transpose", "flatten", "unsqueeze", "squeeze", "clone", "contiguous", "identity"}
)
"""Operators that hand on every value that they are given."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLayout:
    """How one output is made up.

    Attributes:
        shape: As the float model has it, batch included.
        axis: Along which members were joined; None where one tensor makes the output.
        sizes: Sizes of the members along `axis`; empty without an axis.
        bounded: For each member whether its values are shares between 0 and 1; one entry without an axis.
    """

    shape: tuple[int, ...]
    axis: int | None = None
    sizes: tuple[int, ...] = ()
    bounded: tuple[bool, ...] = (False,)


def output_layouts(analysis: Analysis) -> tuple[OutputLayout, ...]:
    """Returns how each output of the float model is made up, in order."""
    writers = {name: operator for operator in analysis.operators for name in operator.outputs}
    return tuple(_layout(name, writers, analysis) for name in analysis.outputs)


def _layout(name: str, writers: Mapping[str, Operator], analysis: Analysis) -> OutputLayout:
    shape = analysis.tensors[name].shape
    writer = _origin(name, writers)
    if writer is None or _type(writer) not in _JOINS:
        return OutputLayout(shape=shape, bounded=(_is_bounded(writer),))
    joined = analysis.tensors[writer.outputs[0]].shape
    parts = [analysis.tensors[item].shape for item in writer.inputs]
    axis = _joined_axis(joined, parts)
    # A constant member is no activation: then the sizes do not add up, and nothing can be said.
    if axis is None or shape.count(joined[axis]) != 1:
        return OutputLayout(shape=shape)
    return OutputLayout(
        shape=shape,
        axis=shape.index(joined[axis]),
        sizes=tuple(part[axis] for part in parts),
        bounded=tuple(_is_bounded(_origin(item, writers)) for item in writer.inputs),
    )


def _joined_axis(joined: tuple[int, ...], parts: list[tuple[int, ...]]) -> int | None:
    """Returns the axis along which `parts` make up `joined`; None where their sizes do not add up along one."""
    if any(len(part) != len(joined) for part in parts):
        return None
    found = [i for i, size in enumerate(joined) if size == sum(part[i] for part in parts) and len(parts) > 1]
    return found[0] if len(found) == 1 else None


def _origin(name: str, writers: Mapping[str, Operator]) -> Operator | None:
    """Returns the operator that made the values of a tensor, behind those that only hand them on."""
    writer = writers.get(name)
    while writer is not None and _type(writer) in _CARRIERS and len(writer.inputs) == 1:
        writer = writers.get(writer.inputs[0])
    return writer


def _is_bounded(writer: Operator | None) -> bool:
    return writer is not None and _type(writer) in _BOUNDED


def _type(operator: Operator) -> str:
    """Returns the type of the last thing that an operator does, in lower case."""
    return (*((operator.type,)), *operator.fused)[-1].lower()
