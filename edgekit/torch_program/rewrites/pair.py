"""A complex tensor as two real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A complex tensor.

    Attributes:
        real: Real part.
        imaginary: Imaginary part, of the same shape.
    """

    real: Any
    imaginary: Any
