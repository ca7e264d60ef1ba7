"""What a runtime computes in float whatever a recipe asks for, as data: the plan leaves it there and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from edgekit.recipe import Precision

RECURRENT_LAYER: Final = "recurrent layer"
"""The kind of what a recurrent layer becomes, where a runtime has no operator for it and its matrices stand alone."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatKernel:
    """Operators for which a runtime has no integer kernel, or none that is worth its time.

    Attributes:
        kinds: Their types in the runtime's words; `RECURRENT_LAYER` for the matrices of recurrent layers.
        precisions: The precisions in which they are float.
        stored: Their weights are integers all the same.
        reason: Why; a clause that follows "because".
    """

    kinds: tuple[str, ...]
    precisions: tuple[Precision, ...]
    stored: bool
    reason: str


def float_kernel(rows: tuple[FloatKernel, ...], kind: str, precision: Precision) -> FloatKernel | None:
    """Returns the row that fits an operator of the type `kind` in a precision, None where it has an integer kernel."""
    return next((row for row in rows if kind in row.kinds and precision in row.precisions), None)
