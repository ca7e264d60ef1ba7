"""Parity: how far the artifact's outputs are from the float model's, as a signal-to-quantization-noise ratio."""

from __future__ import annotations

import math
from typing import ClassVar, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.samples import Samples
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.output_pairing import why_not_comparable
from edgekit.validators.output_statistics import LARGEST_DB, sqnr_db


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


def sqnr_by_output(reference: Samples, outputs: Samples) -> dict[str, float] | str:
    """Returns each output's SQNR in dB by the artifact's name for it, or a sentence: why they do not compare."""
    if reason := why_not_comparable(reference, outputs):
        return reason
    pairs = zip(outputs.names, reference.arrays(), outputs.arrays(), strict=True)
    return {name: sqnr_db(expected, array) for name, expected, array in pairs}


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
    rows = f"{evidence.outputs.count} rows" + (f" of {evidence.rows_of}" if evidence.rows_of else "")
    text = f"SQNR against the float model over {rows}: {each}."
    return found[worst], f"{text} {evidence.pairing}".rstrip()


def _words(value: float) -> str:
    if math.isnan(value):
        return "NaN (outputs that are not finite)"
    return "equal" if value >= LARGEST_DB else f"{value:.1f} dB"
