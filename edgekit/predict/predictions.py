"""Everything that is predicted about one way to export a model, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.analysis.graph import Analysis
from edgekit.predict.accuracy import expected_accuracy
from edgekit.predict.latency import predict_latency
from edgekit.predict.memory import predict_memory
from edgekit.predict.size import predict_size
from edgekit.recipe import Prediction, Recipe

NOT_MEASURED = "not measured: only a run of the artifact tells; export measures it"


def predict(
    analysis: Analysis,
    recipe: Recipe,
    runtime: str,
    *,
    device: str,
    latency_models: Mapping[str, Mapping[str, Any]],
) -> tuple[Prediction, ...]:
    """Returns one prediction for each cost that a budget can limit, in the order of tables.

    What cannot be known before anything runs has value None, and its basis says why.
    """
    size, download = predict_size(analysis, recipe, runtime)
    return (
        size,
        download,
        predict_memory(analysis, recipe, runtime),
        *predict_latency(analysis, recipe, runtime, latency_models, device),
        _unmeasured("accuracy", "%"),
        expected_accuracy(analysis.family, recipe, runtime),
        _unmeasured("slice_drop", "pp"),
        _unmeasured("parity", "dB"),
        _unmeasured("integer_coverage", "%"),
        _unmeasured("delegate_coverage", "%"),
        _unmeasured("accelerator_coverage", "%"),
    )


def _unmeasured(name: str, unit: str) -> Prediction:
    return Prediction(name=name, value=None, low=None, high=None, unit=unit, basis=NOT_MEASURED)
