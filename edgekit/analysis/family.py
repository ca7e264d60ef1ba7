"""Which architecture family a model belongs to, and how that is recognized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from edgekit.analysis.graph import KernelClass, Operator
from edgekit.model import Family

_CONVOLUTIONS: Final[tuple[KernelClass, ...]] = ("dense_conv", "pointwise_conv", "depthwise_conv")
_SMALL_SHARE: Final = 0.10
"""A part with less than this share of the work does not make a model mixed: many CNNs end in one attention layer."""


def family_of(operators: Sequence[Operator]) -> tuple[Family, str]:
    """Returns the family and the evidence for it: `("cnn", "49 convolutions with 99.7 % of the MACs, 1 linear layer")`.

    A transformer is known by attention (products of two activations) that carries its linear layers, an RNN by
    recurrent layers, a CNN by convolutions, an MLP by linear layers alone. Where two of the first three share
    the work, the model is mixed.
    """
    counts: Counter[KernelClass] = Counter(operator.kernel for operator in operators)
    macs = Counter[KernelClass]()
    for operator in operators:
        macs[operator.kernel] += operator.macs
    total = sum(macs.values()) or 1
    attention = counts["attention_matmul"]
    share = {
        "cnn": sum(macs[kernel] for kernel in _CONVOLUTIONS) / total,
        # Linear layers belong to whatever surrounds them: to attention where there is attention.
        "transformer": (macs["attention_matmul"] + macs["linear"]) / total if attention >= 2 else 0.0,
        "rnn": macs["recurrent"] / total,
    }
    evidence = _evidence(counts, macs, total)
    present = [name for name, part in share.items() if part > _SMALL_SHARE]
    if len(present) > 1:
        return "mixed", evidence
    if present == ["cnn"]:
        return "cnn", evidence
    if present == ["transformer"]:
        return "transformer", evidence
    if present == ["rnn"] or counts["recurrent"]:
        return "rnn", evidence
    return ("mlp", evidence) if counts["linear"] else ("unknown", evidence)


def _evidence(counts: Counter[KernelClass], macs: Counter[KernelClass], total: int) -> str:
    groups: tuple[tuple[str, str, tuple[KernelClass, ...]], ...] = (
        ("convolution", "convolutions", _CONVOLUTIONS),
        ("recurrent layer", "recurrent layers", ("recurrent",)),
        ("product of activations (attention)", "products of activations (attention)", ("attention_matmul",)),
        ("linear layer", "linear layers", ("linear",)),
        ("embedding", "embeddings", ("embedding",)),
    )
    parts: list[tuple[float, str]] = []
    for one, many, kernels in groups:
        count = sum(counts[kernel] for kernel in kernels)
        if count:
            part = sum(macs[kernel] for kernel in kernels) / total
            parts.append((part, f"{count} {one if count == 1 else many} ({100 * part:.1f} % of the work)"))
    if not parts:
        return "no convolution, recurrent layer, attention or linear layer"
    return ", ".join(text for _, text in sorted(parts, key=lambda item: -item[0]))
