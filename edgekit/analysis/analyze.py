"""The analysis of a captured model, as a worker process runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from edgekit.analysis.graph import Analysis
from edgekit.model import CapturedKind
from edgekit.workers.request_key import Contents
from edgekit.workers.worker import Job, Progress


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRequest:
    """What to analyse.

    Attributes:
        kind: What the file is.
        path: The captured file, or a SavedModel folder.
    """

    kind: CapturedKind
    path: Contents


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


def run(request: AnalysisRequest, progress: Progress) -> Analysis:
    """Returns the analysis of a captured file: the entry of a worker process."""
    progress("reading the graph", None)
    return analyze(request.kind, request.path)


ANALYZE: Final = Job(work=run, tools=("torch", "onnx", "tensorflow-cpu", "tensorflow"))
