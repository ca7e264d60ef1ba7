"""A model's size in multiply-accumulates and its family, from a list of its operations that cost something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.model import Family

Role = Literal["convolution", "depthwise", "linear", "matmul", "attention", "softmax", "recurrent", "embedding"]
"""linear: one operand is a weight. matmul: both are activations. attention: one fused operator."""

Part = Literal["convolution", "linear", "attention", "recurrent"]
"""What a family is told by; attention are products of two activations."""

_PARTS: Final[Mapping[Role, Part]] = {
    "convolution": "convolution",
    "depthwise": "convolution",
    "linear": "linear",
    "matmul": "attention",
    "attention": "attention",
    "recurrent": "recurrent",
}

_SMALL_SHARE: Final = 0.10
"""A part with less than this share of the work does not make a model mixed: many CNNs end in one attention layer."""

_LEAST_PRODUCTS: Final = 2
"""Products of two activations from which on these are attention: it has two."""


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
    return Architecture(macs=macs, family=_family(operations), evidence=_evidence(counts, convolutions, attentions))


def family_of(counts: Mapping[Part, int], macs: Mapping[Part, int | None]) -> Family:
    """Returns the family of a model: the one judge of it, whatever a model is read from.

    A transformer is known by attention that carries its linear layers, an RNN by recurrent layers, a CNN by
    convolutions, an MLP by linear layers alone. Where two of the first three share the work, the model is mixed.

    Args:
        counts: Number of operators of each part.
        macs: Multiply-accumulates of each part; None where those of one operator are not known, which is taken for a
            large share.
    """
    total = sum(amount or 0 for amount in macs.values()) or 1
    attention = counts.get("attention", 0) >= _LEAST_PRODUCTS
    # Linear layers belong to whatever surrounds them: to attention where there is attention.
    groups: dict[Family, tuple[Part, ...]] = {
        "cnn": ("convolution",),
        "transformer": ("attention", "linear") if attention else (),
        "rnn": ("recurrent",),
    }
    present: list[Family] = []
    for family, parts in groups.items():
        amounts = [macs[part] for part in parts if counts.get(part)]
        if None in amounts or sum(amount or 0 for amount in amounts) / total > _SMALL_SHARE:
            present.append(family)
    if len(present) > 1:
        return "mixed"
    if present:
        return present[0]
    if counts.get("recurrent"):
        return "rnn"
    return "mlp" if counts.get("linear") else "unknown"


def _family(operations: Sequence[Operation]) -> Family:
    counts: Counter[Part] = Counter()
    macs: dict[Part, int | None] = {}
    for operation in operations:
        part = _PARTS.get(operation.role)
        if part is None:
            continue
        # One fused operator of attention stands for its two products.
        counts[part] += _LEAST_PRODUCTS if operation.role == "attention" else 1
        known = macs.get(part, 0)
        macs[part] = None if known is None or operation.macs is None else known + operation.macs
    return family_of(counts, macs)


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
