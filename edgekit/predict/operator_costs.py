"""What each operator costs by itself: stored bytes, predicted time, and the activations that are alive beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.analysis.graph import Analysis
from edgekit.analysis.liveness import buffers, live_bytes
from edgekit.predict.latency import operator_latencies
from edgekit.predict.storage import store, weight_uses
from edgekit.recipe import Candidate


def stored_bytes(analysis: Analysis, candidate: Candidate | None) -> dict[str, float]:
    """Returns operator name to the bytes of its weights in the candidate's format; tied ones count where first used.

    Args:
        analysis: The model's costed graph.
        candidate: Format and recipe; None counts the bytes of the model's own types.
    """
    sizes: dict[str, float] = {}
    seen: set[str] = set()
    uses = weight_uses(analysis, candidate.recipe) if candidate else {}
    for operator in analysis.operators:
        total = 0.0
        for name in operator.weights:
            if name in seen:
                continue
            seen.add(name)
            weight = analysis.weights[name]
            stored = store(weight, uses[name], candidate.runtime, candidate.recipe) if candidate else None
            total += stored.values_bytes + stored.scales_bytes if stored else weight.size_bytes
        sizes[operator.name] = total
    return sizes


def predicted_ms(
    analysis: Analysis, candidate: Candidate | None, latency_model: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, float]:
    """Returns operator name to its predicted milliseconds on a device; empty where nothing is predicted.

    Args:
        analysis: The model's costed graph.
        candidate: Format and recipe.
        latency_model: The device profile's: runtime to precision to rates.
    """
    if candidate is None:
        return {}
    found = operator_latencies(analysis, candidate.recipe, latency_model.get(candidate.runtime, {}))
    if found is None:
        return {}
    return {operator.name: item.ms for operator, item in zip(analysis.operators, found, strict=True)}


def alive_bytes(analysis: Analysis, size_of: Callable[[str], int]) -> dict[str, float]:
    """Returns operator name to the bytes of all activations that are alive while it runs, in execution order.

    Args:
        analysis: The model's costed graph.
        size_of: Bytes of a tensor.
    """
    alive = live_bytes(buffers(analysis.operators, analysis.inputs, analysis.outputs, size_of), len(analysis.operators))
    return {operator.name: bytes_ for operator, bytes_ in zip(analysis.operators, alive, strict=True)}
