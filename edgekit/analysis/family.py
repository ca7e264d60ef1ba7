"""Which architecture family a model belongs to, and how that is recognized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from edgekit.analysis.graph import KernelClass, Operator
from edgekit.model import Family
from edgekit.torch_program.architecture import Part, family_of

_CONVOLUTIONS: Final[tuple[KernelClass, ...]] = ("dense_conv", "pointwise_conv", "depthwise_conv")
_PARTS: Final[Mapping[KernelClass, Part]] = {
    **dict.fromkeys(_CONVOLUTIONS, "convolution"),
    "linear": "linear",
    "attention_matmul": "attention",
    "recurrent": "recurrent",
}


def family_by_work(operators: Sequence[Operator]) -> tuple[Family, str]:
    """Returns the family and the evidence for it: `("cnn", "49 convolutions with 99.7 % of the MACs, 1 linear layer")`.

    See `torch_program.architecture.family_of`, which decides.
    """
    counts: Counter[KernelClass] = Counter(operator.kernel for operator in operators)
    macs = Counter[KernelClass]()
    for operator in operators:
        macs[operator.kernel] += operator.macs
    total = sum(macs.values()) or 1
    parts, work = Counter[Part](), dict[Part, int | None]()
    for kernel, part in _PARTS.items():
        parts[part] += counts[kernel]
        work[part] = (work.get(part) or 0) + macs[kernel]
    return family_of(parts, work), _evidence(counts, macs, total)


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
