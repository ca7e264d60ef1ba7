"""One call of an operator, as a rewrite sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operator and its arguments.

    Attributes:
        operator: torch OpOverload.
        arguments: By the schema's names, defaults filled in. Tensors have shape and dtype and no values.
        results: Outputs, without values: one for most operators.
        read: Places of the outputs that the model reads.
        constants: Values of the arguments that are weights or constants of the model, by the schema's names.
    """

    operator: Any
    arguments: Mapping[str, Any]
    results: tuple[Tensor, ...]
    read: frozenset[int]
    constants: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor among the arguments."""
        return tuple(int(size) for size in self.arguments[name].shape)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return tuple(int(size) for size in self.results[0].shape)


Function: TypeAlias = Callable[..., object]
"""A function of tensors that returns a tensor, or as many as an operator has outputs."""

Rewrite: TypeAlias = Callable[[Call], Function | None]
"""Returns a function of the call's tensors, in the schema's order, that computes the same; None to leave the call."""
