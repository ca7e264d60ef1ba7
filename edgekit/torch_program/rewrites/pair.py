"""A complex tensor as two real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A complex tensor.

    Attributes:
        real: Real part.
        imaginary: Imaginary part, of the same shape.
    """

    real: Tensor
    imaginary: Tensor
