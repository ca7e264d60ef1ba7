"""An analysis as JSON: what is cached between runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgekit.analysis.graph import Analysis, Memory, Operator, Tensor, Weight

FORMAT: Final = 3
"""Raised whenever the JSON form or the meaning of a field changes: part of the cache key."""


def analysis_to_json(analysis: Analysis) -> dict[str, Any]:
    """Returns the JSON form of an analysis."""
    memory = analysis.memory
    return {
        "format": FORMAT,
        "operators": [_operator_to_json(operator) for operator in analysis.operators],
        "tensors": {t.name: [list(t.shape), t.dtype] for t in analysis.tensors.values()},
        "weights": {w.name: _weight_to_json(w) for w in analysis.weights.values()},
        "inputs": list(analysis.inputs),
        "outputs": list(analysis.outputs),
        "memory": {
            "live_peak_bytes": memory.live_peak_bytes,
            "arena_bytes": memory.arena_bytes,
            "peak_operator": memory.peak_operator,
            "peak_tensors": list(memory.peak_tensors),
        },
        "family": analysis.family,
        "family_evidence": analysis.family_evidence,
        "notes": list(analysis.notes),
    }


def analysis_from_json(data: Mapping[str, Any]) -> Analysis:
    """Returns the analysis that `analysis_to_json` wrote."""
    memory = data["memory"]
    return Analysis(
        operators=tuple(_operator_from_json(item) for item in data["operators"]),
        tensors={n: Tensor(name=n, shape=tuple(item[0]), dtype=item[1]) for n, item in data["tensors"].items()},
        weights={n: _weight_from_json(n, item) for n, item in data["weights"].items()},
        inputs=tuple(data["inputs"]),
        outputs=tuple(data["outputs"]),
        memory=Memory(
            live_peak_bytes=memory["live_peak_bytes"],
            arena_bytes=memory["arena_bytes"],
            peak_operator=memory["peak_operator"],
            peak_tensors=tuple(memory["peak_tensors"]),
        ),
        family=data["family"],
        family_evidence=data["family_evidence"],
        notes=tuple(data["notes"]),
    )


def _operator_to_json(operator: Operator) -> dict[str, Any]:
    return {
        "name": operator.name,
        "type": operator.type,
        "kernel": operator.kernel,
        "module": operator.module,
        "inputs": list(operator.inputs),
        "outputs": list(operator.outputs),
        "weights": list(operator.weights),
        "macs": operator.macs,
        "fused": list(operator.fused),
        "in_place": operator.in_place,
        "attributes": dict(operator.attributes),
    }


def _operator_from_json(item: Mapping[str, Any]) -> Operator:
    return Operator(
        name=item["name"],
        type=item["type"],
        kernel=item["kernel"],
        module=item["module"],
        inputs=tuple(item["inputs"]),
        outputs=tuple(item["outputs"]),
        weights=tuple(item["weights"]),
        macs=item["macs"],
        fused=tuple(item["fused"]),
        in_place=item["in_place"],
        attributes=item["attributes"],
    )


def _weight_to_json(weight: Weight) -> dict[str, Any]:
    return {
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "role": weight.role,
        "channels": weight.channels,
        "deflated": dict(weight.deflated),
        "shared_by": weight.shared_by,
        "read_share": weight.read_share,
    }


def _weight_from_json(name: str, item: Mapping[str, Any]) -> Weight:
    return Weight(
        name=name,
        shape=tuple(item["shape"]),
        dtype=item["dtype"],
        role=item["role"],
        channels=item["channels"],
        deflated=item["deflated"],
        shared_by=item["shared_by"],
        read_share=item["read_share"],
    )
