"""What logarithms are taken of, energies or probabilities: it stays float where activations have fixed grids.

256 steps of equal size hold none of what a logarithm shows: whatever is smaller than a step becomes the same number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgekit.analysis.output_heads import HeadOperator

_LOGARITHMS: Final = frozenset({"log", "log10", "log1p", "log2"})
_PRODUCTS: Final = frozenset({"addmm", "batchmatmul", "fullyconnected", "gemm", "linear", "matmul"})
"""Products with filters of bands; of those behind one another only the last is part of a spectrum."""

_STEPS: Final = frozenset(
    {
        "abs", "add", "clamp", "clampmin", "clip", "expanddims", "flatten", "hardtanh", "max", "maximum", "mean", "mul",
        "permute", "pow", "reducesum", "relu", "reshape", "slice", "sqrt", "square", "squeeze", "sum", "transpose",
        "unsqueeze", "view",
    }
)  # fmt: skip
"""What sums and products are made of and moved by, as every kind of graph spells it, without case and marks."""


def logarithm_feeders(operators: Iterable[HeadOperator]) -> set[str]:
    """Returns the names of the logarithms of a graph, and of what computes their arguments from other layers' results.

    Args:
        operators: In execution order.
    """
    listed = list(operators)
    makers = {name: operator for operator in listed for name in operator.writes}
    waiting = [(operator, False) for operator in listed if _word(operator) in _LOGARITHMS]
    found: set[tuple[str, bool]] = set()
    while waiting:
        operator, has_product = waiting.pop()
        if (operator.name, has_product) in found:
            continue
        found.add((operator.name, has_product))
        for before in (makers[name] for name in operator.reads if name in makers):
            product = _word(before) in _PRODUCTS
            if _word(before) in _STEPS or (product and not has_product):
                waiting.append((before, has_product or product))
    return {name for name, _ in found}


def _word(operator: HeadOperator) -> str:
    """Returns `mean` for `MEAN`, `Mean`, `mean.dim` and `aten.mean.dim`."""
    return operator.word.removeprefix("aten.").partition(".")[0].replace("_", "").lower()
