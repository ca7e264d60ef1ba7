"""One operator about to run: its arguments by parameter name, and the state that it may touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar, final

import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.graph import Block, Operation


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ElementList:
    """A MIL list: tensors of one shape, some perhaps never written.

    Attributes:
        elements: The tensors; None where nothing was written yet.
        dynamic: Whether writing past the end makes the list longer.
        element_shape: Shape of an element, None where it is known only once one was written.
        dtype: Torch type of an element.
    """

    elements: tuple[Tensor | None, ...]
    dynamic: bool
    element_shape: tuple[int, ...] | None
    dtype: torch.dtype


@final
@dataclass(slots=True, kw_only=True)
class StateCell:
    """One state of the model: the tensor it holds now.

    Attributes:
        name: The state's name.
        value: What it holds.
    """

    name: str
    value: Tensor


_Kind = TypeVar("_Kind", Tensor, str, "ElementList", "StateCell")

Value: TypeAlias = "Tensor | str | tuple[str | int, ...] | ElementList | StateCell"
Kernel: TypeAlias = "Callable[[Call], Value | Sequence[Value]]"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What an operator may use besides its arguments.

    Attributes:
        opset: The opset's number (5 for iOS 15).
        run_block: Runs a nested block on arguments and returns its results.
        generator: Source of random numbers for operators without a seed of their own.
    """

    opset: int
    run_block: Callable[[Block, Sequence[Value]], list[Value]]
    generator: torch.Generator


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator with its arguments.

    Attributes:
        operation: The operator.
        arguments: Its arguments by parameter name; several for a variadic parameter.
        machine: What it may use besides.
    """

    operation: Operation
    arguments: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, "tuple[Value, ...]"])
    machine: Machine

    def has(self, parameter: str) -> bool:
        """Returns whether an optional parameter is given."""
        return parameter in self.arguments

    def values(self, parameter: str) -> tuple[Value, ...]:
        """Returns the arguments of a variadic parameter.

        Raises:
            ArtifactError: The parameter is not given.
        """
        if parameter not in self.arguments:
            raise ArtifactError(
                f'Operator {self.operation.type} "{self.operation.name}" has no input "{parameter}". '
                "The package is corrupt: export it again."
            )
        return self.arguments[parameter]

    def value(self, parameter: str) -> Value:
        """Returns the one argument of a parameter, of whatever kind."""
        return self.values(parameter)[0]

    def tensor(self, parameter: str) -> Tensor:
        """Returns a required tensor."""
        return self._as_tensor(self.value(parameter), parameter)

    def tensors(self, parameter: str) -> list[Tensor]:
        """Returns the tensors of a variadic parameter."""
        return [self._as_tensor(value, parameter) for value in self.values(parameter)]

    def optional(self, parameter: str) -> Tensor | None:
        """Returns an optional tensor."""
        return self.tensor(parameter) if parameter in self.arguments else None

    def number(self, parameter: str, default: float) -> float:
        """Returns a scalar as a float."""
        return float(self.tensor(parameter).item()) if parameter in self.arguments else default

    def integer(self, parameter: str, default: int) -> int:
        """Returns a scalar as an int."""
        return int(self.tensor(parameter).item()) if parameter in self.arguments else default

    def flag(self, parameter: str, *, default: bool) -> bool:
        """Returns a scalar as a bool."""
        return bool(self.tensor(parameter).item()) if parameter in self.arguments else default

    def integers(self, parameter: str, default: Sequence[int] = ()) -> list[int]:
        """Returns a vector as a list of ints."""
        if parameter not in self.arguments:
            return list(default)
        return [int(item) for item in self.tensor(parameter).reshape(-1).tolist()]

    def flags(self, parameter: str, count: int) -> list[bool]:
        """Returns a vector as a list of bools, all False where it is not given."""
        if parameter not in self.arguments:
            return [False] * count
        return [bool(item) for item in self.tensor(parameter).reshape(-1).tolist()]

    def text(self, parameter: str, default: str) -> str:
        """Returns a string."""
        if parameter not in self.arguments:
            return default
        return self._as(str, self.value(parameter), parameter)

    def element_list(self, parameter: str) -> ElementList:
        """Returns a list."""
        return self._as(ElementList, self.value(parameter), parameter)

    def state(self, parameter: str) -> StateCell:
        """Returns a state."""
        return self._as(StateCell, self.value(parameter), parameter)

    def output_dtype(self, index: int = 0) -> str:
        """Returns the declared element type of a result (`fp16`)."""
        return self.operation.outputs[index].type.dtype

    def _as_tensor(self, value: Value, parameter: str) -> Tensor:
        return self._as(Tensor, value, parameter)

    def _as(self, kind: type[_Kind], value: Value, parameter: str) -> _Kind:
        if not isinstance(value, kind):
            raise ArtifactError(
                f'Operator {self.operation.type} "{self.operation.name}" got a {type(value).__name__} as input '
                f'"{parameter}", which must be a {kind.__name__}. The package is corrupt: export it again.'
            )
        return value
