"""The costed graph of a finished file, and the precisions that it computes in. Runs in a worker process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from edgekit.analysis.graph import Analysis
from edgekit.analysis.graph_json import analysis_to_json
from edgekit.recipe import Precision, Recipe
from edgekit.workers.worker import Progress

ENTRY: Final = "edgekit.analysis.finished_file:run"
"""What a `worker.Job` names."""

READABLE: Final = ("tflite", "onnx")
"""Formats whose graph is read from the file."""


def run(payload: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Returns `analysis` and `recipe` of `payload["path"]`, an artifact of `payload["runtime"]`, as JSON."""
    progress("reading the graph", None)
    analysis, recipe = read_finished(Path(payload["path"]), payload["runtime"], payload["sizes"])
    return {"analysis": analysis_to_json(analysis), "recipe": recipe.to_json()}


def read_finished(path: Path, runtime: str, sizes: Mapping[str, list[int]]) -> tuple[Analysis, Recipe]:
    """Returns the costed graph of a file and the recipe that it was made by, as its operators tell.

    Args:
        path: A .tflite or .onnx file.
        runtime: tflite or onnx.
        sizes: Input name to its shape, where the file leaves sizes free.

    Raises:
        ModelError: the file cannot be read.
    """
    if runtime == "onnx":
        from edgekit.analysis.read_onnx_graph import read_onnx_file

        analysis, precisions = read_onnx_file(path, sizes)
    else:
        from edgekit.analysis.read_flatbuffer import read_tflite_file

        analysis, precisions = read_tflite_file(path.read_bytes(), str(path))
    # Numbers, because names of a file's operators may hold the wildcards of a recipe's patterns.
    operators = tuple(replace(item, module=f"operator {i}.") for i, item in enumerate(analysis.operators))
    found = {item.module: cast("Precision", precisions.get(item.name, "fp32")) for item in operators}
    work: Counter[Precision] = Counter()
    for item in operators:
        work[found[item.module]] += item.macs + 1
    default = work.most_common(1)[0][0] if work else "fp32"
    overrides = tuple((module, precision) for module, precision in found.items() if precision != default)
    return replace(analysis, operators=operators), Recipe(default=default, overrides=overrides)
