"""The graph of one ML Program function as plain values: what is left of the protobuf once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Constant: TypeAlias = "NDArray[np.generic] | str | tuple[str | int, ...]"
"""A value known from the file: numbers, one string, or a list of strings or integers."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An input that another operator, a constant or the caller provides.

    Attributes:
        name: The value's name in the program.
    """

    name: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """What the program declares about a value.

    Attributes:
        kind: `tensor`, `list`, `state`, `dictionary` or `tuple`.
        dtype: Element type of the tensor, or of the list's or state's elements (`fp16`); empty for the others.
        shape: Size of each dimension, None where it is known only at run time; None for an unknown rank.
    """

    kind: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape where every dimension is known, otherwise None."""
        if self.shape is None:
            return None
        sizes = tuple(size for size in self.shape if size is not None)
        return sizes if len(sizes) == len(self.shape) else None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NamedType:
    """A value's name and declared type."""

    name: str
    type: ValueType


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operator of the program, constants excepted.

    Attributes:
        type: Operator type (`conv`).
        name: The operator's own name, else that of its first output.
        inputs: Arguments by parameter name; several for a variadic parameter (`concat`'s `values`).
        outputs: Names and declared types of the results.
        blocks: Nested blocks of `cond` and `while_loop`.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[Reference | Constant, ...]]
    outputs: tuple[NamedType, ...]
    blocks: tuple[Block, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Operators in the order they run.

    Attributes:
        inputs: Names that the surrounding operator binds (loop variables).
        outputs: Names of the block's results.
        operations: The operators.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]

    def operator_types(self) -> list[str]:
        """Returns the type of every operator, nested ones included, in order."""
        types: list[str] = []
        for operation in self.operations:
            types.append(operation.type)
            for block in operation.blocks:
                types.extend(block.operator_types())
        return types


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConstant:
    """How one constant that the program computes with is stored.

    Attributes:
        name: The constant's name in the program.
        shape: Its shape once decompressed.
        dtype: The element type that the program sees (`fp16`).
        stored_dtype: The element type of what is stored (`int8` quantized values, `uint4` table indices).
        encoding: Decompressing operators, the last applied first; empty for a plain constant.
        stored_bytes: Bytes in the file: values with scales, tables and masks.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored_dtype: str
    encoding: tuple[str, ...]
    stored_bytes: int

    @property
    def elements(self) -> int:
        """Elements once decompressed."""
        return int(np.prod(self.shape, dtype=np.int64))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the program.

    Attributes:
        name: `main` in most packages.
        opset: The opset's number: 5 for iOS 15 (`CoreML5`), 8 for iOS 18.
        inputs: Declared inputs, states included.
        block: The operators.
        constants: Values of all constants by name, compressed ones decompressed.
        stored_constants: How each constant is stored.
    """

    name: str
    opset: int
    inputs: tuple[NamedType, ...]
    block: Block
    constants: Mapping[str, Constant]
    stored_constants: tuple[StoredConstant, ...]
