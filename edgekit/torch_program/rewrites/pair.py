"""A complex tensor as two real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

if TYPE_CHECKING:
    from torch import Tensor

Operator: TypeAlias = "Callable[..., Tensor]"
"""A torch operator."""

Compute: TypeAlias = Callable[..., object]
"""What an operator does to pairs: a function of the operator and its arguments that gives a tensor or a `Pair`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A complex tensor.

    Attributes:
        real: Real part, a tensor or a number.
        imaginary: Imaginary part, of the same shape; None where all of it is zero.
    """

    real: Any
    imaginary: Any
