"""The analysis of a captured model, as a worker process runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.analysis.graph import Analysis
from edgekit.analysis.graph_json import analysis_to_json
from edgekit.model import CapturedKind
from edgekit.plugins import load_plugin
from edgekit.workers.worker import Progress

ENTRY = "edgekit.analysis.analyze:run"
"""What a `worker.Job` names."""

READER_ENTRY = "edgekit.analysis.analyze:read_artifact"
"""The same, for a finished file that a format's own reader reads."""


def analyze(kind: CapturedKind, path: Path) -> Analysis:
    """Returns the analysis of a captured file. Imports the framework that reads it: call it in a worker process.

    Raises:
        ModelError: the file cannot be read as `kind`.
    """
    if kind == "pt2":
        from edgekit.analysis.read_exported import read_exported

        return read_exported(path)
    if kind == "onnx":
        from edgekit.analysis.read_onnx_graph import read_onnx_graph

        return read_onnx_graph(path)
    if kind == "tflite":
        from edgekit.analysis.read_flatbuffer import read_flatbuffer_file

        return read_flatbuffer_file(path)
    from edgekit.analysis.read_keras_graph import read_keras_graph

    return read_keras_graph(kind, path)


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Returns the JSON form of the analysis of `payload["path"]`, a captured file of kind `payload["kind"]`."""
    progress("reading the graph", None)
    return analysis_to_json(analyze(payload["kind"], Path(payload["path"])))


def read_artifact(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Returns the JSON form of the analysis of a finished file, `payload["path"]`, by a format's `graph_reader`."""
    progress("reading the graph", None)
    reader = load_plugin("graph reader", payload["reader"], payload["reader"])
    return analysis_to_json(reader(Path(payload["path"])))
