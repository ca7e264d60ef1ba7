"""Operators whose arguments 256 steps of equal size ruin: they stay float where activations have fixed grids.

A logarithm shows what is smaller than a step, and there it is all one number. An exponential turns a step of 0.1 into
10 per cent of its result. A running sum adds up the errors of all that came before. An order (`topk`, and sparsemax,
which is made of one) decides between values that differ by less than a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgekit.analysis.output_heads import HeadOperator

_LOGARITHMS: Final = frozenset({"log", "log10", "log1p", "log2"})
_OTHERS: Final = frozenset({"cumsum", "exp", "exp2", "expm1", "logcumsumexp", "sort", "topk", "topkv2"})
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

_ELEMENTWISE: Final = (_STEPS - {"flatten", "reducesum", "relu", "hardtanh"}) | {
    *("cat", "concat", "concatenation", "div", "minimum", "neg", "rsub", "select", "selectv2", "sub", "where"),
}
"""The same for exponentials, running sums and orders. What a layer clamps was on its grid before."""


def fine_operators(operators: Iterable[HeadOperator]) -> set[str]:
    """Returns the names of these operators in a graph, and of what computes their arguments from layers' results.

    Args:
        operators: In execution order.
    """
    listed = list(operators)
    makers = {name: operator for operator in listed for name in operator.writes}
    waiting = [(operator, _STEPS, False) for operator in listed if _word(operator) in _LOGARITHMS]
    waiting += [(operator, _ELEMENTWISE, True) for operator in listed if _word(operator) in _OTHERS]
    found: set[tuple[str, frozenset[str], bool]] = set()
    while waiting:
        operator, steps, has_product = waiting.pop()
        if (operator.name, steps, has_product) in found:
            continue
        found.add((operator.name, steps, has_product))
        for before in (makers[name] for name in operator.reads if name in makers):
            product = _word(before) in _PRODUCTS
            if _word(before) in steps or (product and not has_product):
                waiting.append((before, steps, has_product or product))
    return {name for name, _, _ in found}


def _word(operator: HeadOperator) -> str:
    """Returns `mean` for `MEAN`, `Mean`, `mean.dim` and `aten.mean.dim`."""
    return operator.word.removeprefix("aten.").partition(".")[0].replace("_", "").lower()
