"""What one operator of an artifact computes with, as its runtime (or, where that does not tell, its file) says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

Arithmetic = Literal["integer", "dynamic", "float", "other"]
"""How an operator computes:

integer  integer activations and weights, with grids that are stored
dynamic  integer weights; activations get their grid while the model runs
float    float arithmetic, whatever its weights are stored as
other    between the two: quantizes, dequantizes, casts
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactOperator:
    """One operator. The field names are the keys of what a session's `operators()` returns.

    Attributes:
        name: As the artifact calls it; where a format keeps no names, its type and its weights' shape.
        kind: Its type in the runtime's words: `CONV_2D`, `QLinearConv`.
        arithmetic: How it computes.
        dtype: NumPy's name of its first result's type, "" where nobody knows.
        rank: Dimensions of its first result.
        macs: Multiply-accumulates of one inference, 0 for operators that have none, None where nobody knows.
        weights: Stored weights that it reads, biases apart.
        weight_bits: Bits of one of them as stored; 0 without weights.
        scales: How many scales these weights have; 0 where they have none or the runtime does not report it.
        channels: Its output channels, where it has weights.
        table_bits: Bits of one value of the table whose rows it looks up, as stored; 0 for what looks up none.
        zero_point: Zero point of its result's grid, None where there is none, one for each channel, or nobody knows.
        path: What runs it on the accelerated path (`XNNPACK`), "" where it falls off, None where nobody knows.
    """

    name: str
    kind: str
    arithmetic: Arithmetic
    dtype: str = ""
    rank: int = 0
    macs: int | None = 0
    weights: int = 0
    weight_bits: int = 0
    scales: int = 0
    channels: int = 0
    table_bits: int = 0
    zero_point: int | None = None
    path: str | None = None

    @property
    def multiplies(self) -> bool:
        """True for convolutions, matrix products and recurrent layers: nearly all the work of a model."""
        return self.macs is None or self.macs > 0

    @property
    def in_integers(self) -> bool:
        """True where the arithmetic is integer arithmetic."""
        return self.arithmetic in ("integer", "dynamic")


def count_by_arithmetic(operators: Iterable[ArtifactOperator]) -> dict[str, dict[str, int]]:
    """Returns {"integer": {type: count}, "float": {...}}; what lies between the two counts as its result's type."""
    counts: dict[str, Counter[str]] = {"integer": Counter(), "float": Counter()}
    for operator in operators:
        results_float = operator.arithmetic == "other" and "float" in operator.dtype
        counts["float" if operator.arithmetic == "float" or results_float else "integer"][operator.kind] += 1
    return {arithmetic: dict(counter) for arithmetic, counter in counts.items()}


def share_of_work(part: Iterable[ArtifactOperator], whole: Iterable[ArtifactOperator]) -> tuple[float, str] | None:
    """Returns (percent, what was counted) of `part` in `whole`: by multiply-accumulates, by number where not all known.

    None where `whole` is empty.
    """
    part, whole = tuple(part), tuple(whole)
    if not whole:
        return None
    known = [operator.macs for operator in whole if operator.macs is not None]
    total = sum(known)
    if len(known) == len(whole) and total > 0:
        done = sum(operator.macs or 0 for operator in part)
        return 100 * done / total, f"{total / 1e6:.4g} M multiply-accumulates"
    return 100 * len(part) / len(whole), f"{len(whole)} operators"


def name_operators(operators: Iterable[ArtifactOperator], most: int = 10) -> str:
    """Returns up to `most` operators by name and type, those with the most work first."""
    found = sorted(operators, key=lambda operator: -(operator.macs or 0))
    labels = [_label(operator) for operator in found]
    # Formats without names have several operators of one shape.
    counts = Counter(labels)
    unique = [f"{label} x{counts[label]}" if counts[label] > 1 else label for label in dict.fromkeys(labels)]
    rest = sum(counts[label] for label in list(dict.fromkeys(labels))[most:])
    return ", ".join(unique[:most]) + (f" and {rest} more" if rest else "")


def _label(operator: ArtifactOperator) -> str:
    if operator.name.startswith(operator.kind):
        return operator.name
    # TFLite names a result by the whole path of modules that made it; the end tells them apart.
    parts = operator.name.rstrip("/;").split("/")
    short = parts[-1] if len(operator.name) > 60 else operator.name
    return f"{short} ({operator.kind})"
