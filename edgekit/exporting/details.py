"""What an export knows beyond its verdict: the plans with every candidate, and what each operator costs.

`details.json` lies beside `report.json` and is for people who want to see why: `edgekit report` draws it. CI does not
read it, so its form may change with its schema version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import edgekit
from edgekit.analysis.graph import Analysis
from edgekit.analysis.liveness import memory
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.errors import ArtifactError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.report import ExportReport
from edgekit.planner.plan import Plan
from edgekit.predict.memory import activation_sizes
from edgekit.predict.operator_costs import alive_bytes, predicted_ms, stored_bytes
from edgekit.recipe import Candidate
from edgekit.workers.atomic_files import write_json

SCHEMA_VERSION: Final = 1
DETAILS_NAME: Final = "details.json"


def details_json(
    report: ExportReport,
    plans: Sequence[Plan],
    analysis: Analysis,
    latency_model: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the details of an export.

    Args:
        report: What came of it.
        plans: One for each format that was requested, or the one that chose.
        analysis: Costed graph of the model as it was captured, before any technique.
        latency_model: The device profile's, runtime to precision to rates.
    """
    made = [result for result in report.results if result.artifact is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        "edgekit": edgekit.__version__,
        "device": report.device,
        "artifacts": sorted(result.artifact.sha256 for result in made if result.artifact is not None),
        "plans": [plan.to_json() for plan in plans],
        "operators": _operators_json(analysis),
        "formats": [_format_json(result, analysis, latency_model) for result in made],
    }


def _operators_json(analysis: Analysis) -> list[dict[str, Any]]:
    """Returns what the operators are, in execution order: the same in every format."""
    return [
        {
            "name": operator.name,
            "type": "+".join([operator.type, *(name for name in operator.fused if name != operator.type)]),
            "kernel": operator.kernel,
            # TensorFlow's converter joins the names of what it fuses.
            "module": operator.module.split(";", maxsplit=1)[0],
            "shape": list(analysis.tensors[operator.outputs[0]].shape) if operator.outputs else [],
            "macs": operator.macs,
        }
        for operator in analysis.operators
    ]


def _format_json(
    result: FormatResult, analysis: Analysis, latency_model: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns what each operator costs in one format, lists in the order of the operators."""
    candidate = Candidate(runtime=result.runtime, recipe=result.recipe)
    sizes = stored_bytes(analysis, candidate)
    spent = predicted_ms(analysis, candidate, latency_model)
    return {
        "runtime": result.runtime,
        "precision": result.precision,
        "precisions": list(analysis_precisions(analysis, result.recipe).values()),
        "stored_bytes": [round(sizes[operator.name]) for operator in analysis.operators],
        "predicted_ms": [spent[operator.name] for operator in analysis.operators] if spent else None,
        "memory": _memory_json(result, analysis),
    }


def _memory_json(result: FormatResult, analysis: Analysis) -> dict[str, Any]:
    """Returns the activations alive while each operator runs and who they are at the peak; computed, not measured."""
    sizes = activation_sizes(analysis, result.recipe)
    found = memory(analysis.operators, analysis.inputs, analysis.outputs, sizes)
    writers = {name: operator.name for operator in analysis.operators for name in operator.outputs}
    return {
        "alive_bytes": list(alive_bytes(analysis, sizes).values()),
        "peak_bytes": found.live_peak_bytes,
        "arena_bytes": found.arena_bytes,
        "peak_operator": found.peak_operator,
        "peak_tensors": [
            {
                "name": name,
                "bytes": sizes(name),
                "shape": list(analysis.tensors[name].shape),
                "written_by": writers.get(name),
            }
            for name in found.peak_tensors
        ],
    }


def write_details(folder: Path, details: Mapping[str, Any]) -> Path:
    """Writes `details.json` into an export's folder, whole or not at all; returns its path."""
    path = folder / DETAILS_NAME
    write_json(path, details)
    return path


def read_details(folder: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the details of the export whose report is `report`.

    Raises:
        ArtifactError: none there, not details that this edgekit reads, or those of another export.
    """
    path = folder / DETAILS_NAME
    from edgekit.exporting.details_schema import DetailsFile
    from edgekit.measurements.figure_schema import read_record

    data = read_record(
        path,
        DetailsFile,
        ArtifactError,
        what="details of an export",
        advice="Run edgekit export again.",
        missing=f"{folder}: no {DETAILS_NAME} there: edgekit validate or an older edgekit wrote this folder. "
        "Run edgekit export again.",
    )
    if data["artifacts"] != sorted(artifact["sha256"] for artifact in report["artifacts"]):
        raise ArtifactError(
            f"{path}: it is about other artifacts than the report beside it: one of the two was replaced. "
            "Run edgekit export again."
        )
    return data
