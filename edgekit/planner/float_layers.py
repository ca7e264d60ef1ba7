"""Which layers a runtime computes in float whatever a recipe says: what the plan tells before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from edgekit.analysis.graph import Analysis
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.formats.float_kernels import RECURRENT_LAYER, float_kernel
from edgekit.formats.table import known_format
from edgekit.recipe import Recipe


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatLayers:
    """The layers that a recipe gives to integers and a runtime does not.

    Attributes:
        names: The layers, `r (gru)`, in execution order.
        share: Their share of the model's multiply-accumulates, in percent.
        whole: No layer with weights is left for integers.
        reason: Why; a clause that follows "because".
    """

    names: tuple[str, ...]
    share: float
    whole: bool
    reason: str

    @property
    def words(self) -> str:
        """`99.5 % of the work stays in float (r (gru)), because ...`, without a full stop."""
        shown = ", ".join(self.names[:3]) + (f" and {len(self.names) - 3} more" if len(self.names) > 3 else "")
        return f"{self.share:.3g} % of the work stays in float ({shown}), because {self.reason}"


def float_layers(analysis: Analysis, recipe: Recipe, runtime: str) -> FloatLayers | None:
    """Returns what stays in float of a recipe's integers; None where nothing does, or where nothing is known."""
    made = known_format(runtime)
    precisions = analysis_precisions(analysis, recipe)
    weighted = [item for item in analysis.operators if item.weights and precisions[item.name] not in ("fp32", "fp16")]
    rows = {
        item.name: float_kernel(made.float_kernels, RECURRENT_LAYER, precisions[item.name])
        for item in weighted
        if made is not None and item.kernel == "recurrent"
    }
    kept = [(item, row) for item in weighted if (row := rows.get(item.name)) is not None and not row.stored]
    if not kept:
        return None
    work = sum(item.macs for item, _ in kept)
    return FloatLayers(
        names=tuple(f"{item.module or item.name} ({item.type})" for item, _ in kept),
        share=100 * work / analysis.macs if analysis.macs else 0.0,
        whole=not any(_multiplies(analysis, item.weights) for item in weighted if item not in [x for x, _ in kept]),
        reason=kept[0][1].reason,
    )


def why_not_integers(analysis: Analysis, recipe: Recipe, runtime: str) -> str | None:
    """Returns why a recipe's integers would come to nothing in a runtime, or None where they do not."""
    found = float_layers(analysis, recipe, runtime)
    if found is None or not found.whole:
        return None
    return f"nothing would be stored or computed in integers: {found.words}. fp32 is the same without the detour"


def _multiplies(analysis: Analysis, weights: tuple[str, ...]) -> bool:
    """Returns whether a layer has weights that integers could hold: matrices, kernels and tables."""
    return any(analysis.weights[name].role in ("kernel", "recurrent", "table") for name in weights)
