"""A neural network's layers, written as the operators of an ML Program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, final

import numpy as np

from edgekit.validators.coreml_evaluator.graph import (
    Constant,
    NamedType,
    Operation,
    Reference,
    StoredConstant,
    ValueType,
)
from edgekit.validators.coreml_evaluator.neural_network.message import Message
from edgekit.validators.coreml_evaluator.neural_network.stored_weights import read_weights

Given: TypeAlias = "int | float | bool | Sequence[int] | Constant | Reference | list[Reference]"
"""What `Network.add` takes for a parameter: a value, or a reference to one that is computed."""


@final
@dataclass(slots=True, kw_only=True)
class Network:
    """Collects operators.

    Old networks' arrays have five axes (sequence, batch, channels, height, width); the first two are one here, N, for
    one of them is 1.

    Attributes:
        ranks: Whether arrays have the ranks that the file gives them; else all have four axes (N, C, H, W).
        operations: In the order in which they run.
        constants: Weights by name.
        stored: How each is stored.
    """

    ranks: bool
    operations: list[Operation] = field(default_factory=list[Operation])
    constants: dict[str, Constant] = field(default_factory=dict[str, Constant])
    stored: list[StoredConstant] = field(default_factory=list[StoredConstant])

    def weights(self, message: Message, shape: Sequence[int], name: str) -> Reference:
        """Stores weights of a layer and returns what refers to them."""
        values, dtype, size = read_weights(message, shape, layer=name)
        self.constants[name] = values
        self.keep(name, values.shape, dtype, size)
        return Reference(name=name)

    def keep(self, name: str, shape: tuple[int, ...], dtype: str, size: int) -> None:
        """Notes how a constant is stored: its element type and bytes in the file."""
        encoding = ("quantization",) if dtype.startswith("uint") else ()
        self.stored.append(
            StoredConstant(
                name=name, shape=shape, dtype="fp32", stored_dtype=dtype, encoding=encoding, stored_bytes=size
            )
        )

    def add(self, kind: str, output: str, /, *more: str, **given: Given) -> Reference:
        """Appends an operator and returns what refers to its first result; `name` is the layer's, where it has one."""
        name = str(given.pop("name", ""))
        inputs = {key: _argument(value) for key, value in given.items()}
        made = replace(UNKNOWN, dtype=str(given["dtype"])) if kind == "cast" else UNKNOWN
        self.operations.append(
            Operation(
                type=kind,
                name=name or output,
                inputs=inputs,
                outputs=tuple(NamedType(name=one, type=made) for one in (output, *more)),
                blocks=(),
            )
        )
        return Reference(name=output)


UNKNOWN = ValueType(kind="tensor", dtype="fp32", shape=None)
"""Type of a result before the shapes are known."""

Translate: TypeAlias = Callable[["Network", Message, Message], None]
"""Appends the operators of a layer: gets the network, the layer and its parameters."""


def _argument(value: Given) -> tuple[Reference | Constant, ...]:
    if isinstance(value, list):
        return tuple(one for one in value if isinstance(one, Reference))
    if isinstance(value, (Reference, str, np.ndarray)):
        return (value,)
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return (tuple(str(text) for text in value),)
    array = np.asarray(value)
    kinds: Mapping[str, type] = {"i": np.int32, "f": np.float32, "b": np.bool_}
    return (array.astype(kinds[array.dtype.kind]),)


def first(layer: Message) -> Reference:
    """Returns a layer's first input."""
    return Reference(name=layer.input[0])


def all_inputs(layer: Message) -> list[Reference]:
    """Returns a layer's inputs."""
    return [Reference(name=name) for name in layer.input]
