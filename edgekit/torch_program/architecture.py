"""A model's size in multiply-accumulates and its family, from a list of its operations that cost something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.model import Family

Role = Literal["convolution", "depthwise", "linear", "matmul", "attention", "softmax", "recurrent", "embedding"]
"""linear: one operand is a weight. matmul: both are activations. attention: one fused operator."""

_CONVOLUTION_SHARE: Final = 0.5
"""From this share of the multiply-accumulates on, convolutions beside attention or recurrence make a model mixed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation that costs multiply-accumulates, or that tells the family.

    Attributes:
        role: What it is.
        macs: Multiply-accumulates at batch 1; None where a shape is not known.
    """

    role: Role
    macs: int | None = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a model's operations say about it.

    Attributes:
        macs: Multiply-accumulates of one inference; None if one operation's are not known.
        family: See `edgekit.model.Family`.
        evidence: Why: "49 convolutions (16 depthwise), 1 linear layer".
    """

    macs: int | None
    family: Family
    evidence: str


def judge(operations: Sequence[Operation]) -> Architecture:
    """Returns the architecture that a model with these operations has."""
    counts: Counter[Role] = Counter(operation.role for operation in operations)
    convolutions = counts["convolution"] + counts["depthwise"]
    # Written out, attention is a softmax between two products of activations.
    attentions = counts["attention"] + min(counts["softmax"], counts["matmul"] // 2)
    known = [operation.macs for operation in operations if operation.macs is not None]
    macs = sum(known) if len(known) == len(operations) else None
    share = _convolution_share(operations)
    if not counts:
        family: Family = "unknown"
    elif attentions and counts["recurrent"]:
        family = "mixed"
    elif attentions or counts["recurrent"]:
        other: Family = "transformer" if attentions else "rnn"
        family = "mixed" if share >= _CONVOLUTION_SHARE else other
    elif convolutions:
        family = "cnn"
    else:
        family = "mlp" if counts["linear"] or counts["matmul"] else "unknown"
    return Architecture(macs=macs, family=family, evidence=_evidence(counts, convolutions, attentions))


def _convolution_share(operations: Iterable[Operation]) -> float:
    total = convolutions = 0
    for operation in operations:
        total += operation.macs or 0
        if operation.role in ("convolution", "depthwise"):
            convolutions += operation.macs or 0
    return convolutions / total if total else 0.0


def _evidence(counts: Counter[Role], convolutions: int, attentions: int) -> str:
    words: list[str] = []
    if convolutions:
        depthwise = f" ({counts['depthwise']} depthwise)" if counts["depthwise"] else ""
        words.append(_plural(convolutions, "convolution") + depthwise)
    for count, name in (
        (counts["linear"], "linear layer"),
        (attentions, "attention"),
        (counts["recurrent"], "recurrent layer"),
        (counts["embedding"], "embedding table"),
    ):
        if count:
            words.append(_plural(count, name))
    if not attentions and counts["matmul"]:
        words.append(_plural(counts["matmul"], "matrix product"))
    return ", ".join(words) or "no convolution, linear layer, attention or recurrence"


def _plural(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
