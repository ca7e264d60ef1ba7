"""Which tensors are read by one activation and by nothing else.

A SiLU is one operator in some graphs and x * sigmoid(x) in others; both are found, in every graph's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from edgekit.analysis.output_heads import HeadOperator, head_operators

Activation = Literal["gelu", "hardswish", "mish", "sigmoid", "silu", "tanh"]
"""Activations without settings that are flat on one side or on both."""

_WORDS: Final[Mapping[str, Activation]] = {
    "gelu": "gelu",
    "hardswish": "hardswish",
    "logistic": "sigmoid",
    "mish": "mish",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}

_GATES: Final[Mapping[str, Activation]] = {"hardsigmoid": "hardswish", "logistic": "silu", "sigmoid": "silu"}
"""What x times this function of x is."""


def activation_inputs(operators: Iterable[HeadOperator], outputs: Sequence[str]) -> dict[str, Activation]:
    """Returns the activation that reads each tensor which nothing else reads.

    Activations in the heads of outputs are left out: a head may stay float, and then shows more than 256 values.

    Args:
        operators: All of a graph.
        outputs: Names of its outputs, in order: these are read by somebody else too.
    """
    listed = list(operators)
    heads = head_operators(listed, outputs, range(len(outputs)))
    readers: dict[str, list[HeadOperator]] = {}
    for operator in listed:
        for name in dict.fromkeys(operator.reads):
            readers.setdefault(name, []).append(operator)
    found: dict[str, Activation] = {}
    for name, read_by in readers.items():
        inside = name not in outputs and not any(operator.name in heads for operator in read_by)
        activation = _activation(read_by, readers) if inside else None
        if activation is not None:
            found[name] = activation
    return found


def _activation(read_by: Sequence[HeadOperator], readers: Mapping[str, Sequence[HeadOperator]]) -> Activation | None:
    if len(read_by) == 1:
        return _WORDS.get(_word(read_by[0]))
    gates = [item for item in read_by if _word(item) in _GATES]
    products = [item for item in read_by if _word(item) == "mul"]
    if len(read_by) != 2 or len(gates) != 1 or len(products) != 1:
        return None
    gated = gates[0].writes[0]
    return _GATES[_word(gates[0])] if gated in products[0].reads and list(readers[gated]) == products else None


def _word(operator: HeadOperator) -> str:
    """Returns `silu` for `aten.silu.default`, `mul` for `MUL` and `Mul`."""
    return operator.word.removeprefix("aten.").partition(".")[0].replace("_", "").lower()
