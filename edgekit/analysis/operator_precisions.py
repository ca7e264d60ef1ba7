"""Which precision a recipe gives to each operator of a graph: where a hybrid recipe is decided.

A hybrid recipe treats an operator without weights as it treats what that operator reads: where all of it comes from
convolutions, it computes in integers with calibrated ranges too. Anything that reads one float value stays float, so
attention and the residual stream of a transformer block do.

Heads that the recipe keeps in float (`Recipe.float_heads`) are float whatever else it says. So is what logarithms,
exponentials, running sums and orders are taken of, where its activations would have fixed grids (`fine_arguments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.fine_arguments import fine_operators
from edgekit.analysis.graph import Analysis, KernelClass
from edgekit.analysis.output_heads import HeadOperator, analysis_operators, head_operators
from edgekit.recipe import OperatorKind, Precision, Recipe

_KINDS: Final[Mapping[KernelClass, OperatorKind]] = {
    "dense_conv": "convolution",
    "pointwise_conv": "convolution",
    "depthwise_conv": "convolution",
    "linear": "matrix",
    "recurrent": "matrix",
    "embedding": "matrix",
    "elementwise": "follower",
    "pooling": "follower",
    "data_movement": "follower",
    "attention_matmul": "other",
    "normalization": "other",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOperator:
    """What decides an operator's precision.

    Attributes:
        name: Unique in the graph.
        module: Dotted name of the module that it lies in.
        kind: `follower` for one that may be one.
        reads: Names of the activations that it reads; weights and constants are none.
        writes: Names of its results.
    """

    name: str
    module: str
    kind: OperatorKind
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def operator_precisions(
    operators: Iterable[GraphOperator], recipe: Recipe, described: Sequence[HeadOperator], outputs: Sequence[str]
) -> dict[str, Precision]:
    """Returns the precision of each operator by name.

    Args:
        operators: In execution order.
        recipe: Precision of each part.
        described: The same operators, as heads are found in them.
        outputs: Names of the model's outputs.
    """
    kept = head_operators(described, outputs, recipe.float_heads)
    fine = fine_operators(described)
    found: dict[str, Precision] = {}
    on_grids: set[str] = set()
    for operator in operators:
        kind = operator.kind
        if kind == "follower" and not (operator.reads and on_grids.issuperset(operator.reads)):
            kind = "other"
        precision = "fp32" if operator.name in kept else recipe.precision_of(operator.module, kind)
        found[operator.name] = "fp32" if precision == "int8_static" and operator.name in fine else precision
        if found[operator.name] == "int8_static":
            on_grids.update(operator.writes)
    return found


def analysis_precisions(analysis: Analysis, recipe: Recipe) -> dict[str, Precision]:
    """Returns the precision of each operator of a costed graph by name."""
    return operator_precisions(
        (
            GraphOperator(
                name=operator.name,
                module=operator.module,
                kind=_KINDS[operator.kernel],
                reads=operator.inputs,
                writes=operator.outputs,
            )
            for operator in analysis.operators
        ),
        recipe,
        analysis_operators(analysis),
        analysis.outputs,
    )
