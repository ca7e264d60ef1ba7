"""How large an artifact becomes, as a file and as a download, before it is made.

    size     = weights (exact, by precision) + scales and zero points (exact) + graph
    graph    = fixed + per operator + per stored tensor and letter of its name + per quantized activation
    download = each part times what deflate leaves of it; for weights that is measured on their own values

Only the graph term is an estimate: its coefficients come from files that our converters wrote. It is a percent or so of
a file over 1 MB, so its error hardly shows there, and the band says how much it may be in small files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, recurrent_cells
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.formats.stored_bytes import GraphBytes
from edgekit.predict.storage import storage_of, store, weight_uses
from edgekit.recipe import Prediction, Recipe

_GRAPH_ERROR: Final = 0.50
"""Half width of the band of the graph term: names and decompositions differ from model to model."""
_WEIGHT_ERROR: Final = 0.004
"""Half width of the band of the exact terms: alignment, and constants that a converter folds or keeps."""
_DEFLATE_ERROR: Final = 0.03
"""Half width of the band of the deflate ratio: it is measured on samples, and converters reorder weights."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SizeEstimate:
    """Where an artifact's bytes go.

    Attributes:
        weights_bytes: Values of all weights.
        scales_bytes: Scales and zero points.
        graph_bytes: Everything else.
        graph_deflated: What share of `graph_bytes` deflate leaves.
        download_bytes: The whole, deflated.
    """

    weights_bytes: int
    scales_bytes: int
    graph_bytes: int
    graph_deflated: float
    download_bytes: int

    @property
    def total_bytes(self) -> int:
        """The file."""
        return self.weights_bytes + self.scales_bytes + self.graph_bytes


def estimate_size(analysis: Analysis, recipe: Recipe, runtime: str) -> SizeEstimate | None:
    """Returns where the bytes of an artifact go, None for a runtime or precision whose layout is not known."""
    storage = storage_of(runtime)
    if storage is None:
        return None
    uses = weight_uses(analysis, recipe)
    values = scales = 0
    deflated = 0.0
    for weight in analysis.weights.values():
        stored = store(weight, uses[weight.name], runtime, recipe)
        if stored is None:
            return None
        values += stored.values_bytes
        scales += stored.scales_bytes
        deflated += stored.deflated_bytes
    graph = _graph_bytes(analysis, recipe, storage.graph)
    return SizeEstimate(
        weights_bytes=values,
        scales_bytes=scales,
        graph_bytes=round(graph),
        graph_deflated=storage.graph.deflated,
        download_bytes=round(deflated + graph * storage.graph.deflated),
    )


def _graph_bytes(analysis: Analysis, recipe: Recipe, terms: GraphBytes) -> float:
    precisions = analysis_precisions(analysis, recipe)
    kernels = [operator for operator in analysis.operators if operator.macs and operator.weights]
    dynamic = sum(precisions[o.name] in ("int8_dynamic", "int4_weights") for o in kernels)
    integer = sum(precisions[o.name] in ("int8_static", "w8a16") for o in analysis.operators)
    return (
        terms.fixed
        + terms.per_operator * len(analysis.operators)
        + terms.per_weight * len(analysis.weights)
        + terms.per_letter * sum(map(len, analysis.weights))
        + terms.per_quantized * integer
        + terms.per_dynamic * dynamic
        + terms.per_step * sum(recurrent_cells(analysis, operator) for operator in analysis.operators)
    )


def predict_size(analysis: Analysis, recipe: Recipe, runtime: str) -> tuple[Prediction, Prediction]:
    """Returns the predictions of `size` and `download`, in bytes with their bands."""
    estimate = estimate_size(analysis, recipe, runtime)
    if estimate is None:
        reason = f"not measured: how {runtime} stores {recipe.name} weights is not known to edgekit"
        return _unknown("size", reason), _unknown("download", reason)
    exact = estimate.weights_bytes + estimate.scales_bytes
    slack = exact * _WEIGHT_ERROR + estimate.graph_bytes * _GRAPH_ERROR
    total, download = estimate.total_bytes, estimate.download_bytes
    loose = download * _DEFLATE_ERROR + estimate.graph_bytes * _GRAPH_ERROR * estimate.graph_deflated
    return (
        Prediction(
            name="size", value=total, low=round(total - slack), high=round(total + slack), unit="bytes",
            basis="exact weights and scales, estimated graph",
        ),
        Prediction(
            name="download", value=download, low=round(download - loose), high=round(download + loose), unit="bytes",
            basis="deflate measured on samples of the weights",
        ),
    )  # fmt: skip


def _unknown(name: str, reason: str) -> Prediction:
    return Prediction(name=name, value=None, low=None, high=None, unit="bytes", basis=reason)
