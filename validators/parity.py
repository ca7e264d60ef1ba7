"""Parity: how far the artifact's outputs are from the float model's, as a signal-to-quantization-noise ratio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.samples import Samples
from edgekit.validators.base import Evidence, Validator

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_DB: Final = 200.0
"""Equal outputs have an infinite ratio, which JSON cannot hold. 32-bit floats end near 150 dB, so 200 means equal."""

_ROWS_AT_ONCE: Final = 256


@final
class ParityValidator(Validator):
    """Judges the worst output's SQNR over the evaluation data; the detail names each output."""

    costs: ClassVar[tuple[str, ...]] = ("parity",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `parity`."""
        value, detail = _parity(evidence)
        return (
            judge(
                "parity",
                value,
                budget.get("parity"),
                measured_on=evidence.runtime,
                detail=detail,
                runtime=evidence.artifact.runtime,
            ),
        )


def sqnr_db(reference: NDArray[Any], outputs: NDArray[Any]) -> float:
    """Returns 10 log10(sum(reference^2) / sum((reference - outputs)^2)) over all rows, within +-LARGEST_DB.

    Args:
        reference: (rows, ...), any numeric dtype; read in pieces, so a memory map stays on disk.
        outputs: The same number of values a row.

    Returns:
        NaN where a value of either is not finite.
    """
    import numpy as np

    signal = noise = 0.0
    for start in range(0, len(reference), _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        expected = np.asarray(reference[piece], np.float64).ravel()
        difference = expected - np.asarray(outputs[piece], np.float64).ravel()
        signal += float(np.sum(expected * expected))
        noise += float(np.sum(difference * difference))
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return LARGEST_DB
    if signal == 0:
        return -LARGEST_DB
    return max(-LARGEST_DB, min(LARGEST_DB, 10 * math.log10(signal / noise)))


def sqnr_by_output(reference: Samples, outputs: Samples) -> dict[str, float] | str:
    """Returns each output's SQNR in dB by the artifact's name for it, or a sentence: why they do not compare."""
    if len(reference.names) != len(outputs.names):
        return (
            f"The artifact has {len(outputs.names)} outputs ({', '.join(outputs.names)}) and the float model "
            f"{len(reference.names)} ({', '.join(reference.names)}): they cannot be compared."
        )
    if reference.count != outputs.count:
        return f"The artifact has outputs for {outputs.count} rows and the float model for {reference.count}."
    found: dict[str, float] = {}
    for name, expected, array in zip(outputs.names, reference.arrays(), outputs.arrays(), strict=True):
        if _without_ones(expected.shape) != _without_ones(array.shape):
            return (
                f'Output "{name}" has shape {(1, *array.shape[1:])} in the artifact and {(1, *expected.shape[1:])} '
                "in the float model: they cannot be compared."
            )
        found[name] = sqnr_db(expected, array)
    return found


def _parity(evidence: Evidence) -> tuple[float | None, str]:
    """Returns the worst output's SQNR and the sentence about all, or None and the reason."""
    if evidence.outputs is None:
        return None, evidence.why_missing("outputs")
    if evidence.reference is None:
        return None, evidence.why_missing("reference")
    found = sqnr_by_output(evidence.reference, evidence.outputs)
    if isinstance(found, str):
        return None, found
    # NaN is worse than any number, and min() would pass it over.
    worst = min(found, key=lambda name: -math.inf if math.isnan(found[name]) else found[name])
    each = ", ".join(f"{name} {_words(value)}" for name, value in found.items())
    return found[worst], f"SQNR against the float model over {evidence.outputs.count} rows: {each}."


def _words(value: float) -> str:
    if math.isnan(value):
        return "NaN (outputs that are not finite)"
    return "equal" if value >= LARGEST_DB else f"{value:.1f} dB"


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *(size for size in shape[1:] if size != 1))
