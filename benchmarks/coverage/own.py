"""A cell as edgekit makes it: refused for what the planner knows, or converted and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capture import captured, judged, silent
from judge import integer_share, judgement, run_file

SUFFIXES = {"tflite": "tflite", "onnx": "onnx", "executorch": "pte", "coreml": "mlpackage"}


def converted(model: Any, runtime: str, recipe: Any, calibration: Path, folder: Path) -> tuple[Path, Any]:
    """Returns the artifact of a captured model in a folder, and what its converter says of it.

    Raises:
        EdgekitError: it cannot be converted.
    """
    from edgekit.converters.base import ConversionRequest, converter

    path = folder / f"net.{SUFFIXES[runtime]}"
    (folder / "scratch").mkdir()
    request = ConversionRequest(
        model=model,
        recipe=recipe,
        calibration=calibration if recipe.needs_calibration else None,
        scratch=folder / "scratch",
    )
    return path, converter(runtime).run(request, path, silent)


def measure(name: str, runtime: str, precision: str, work: Path, folder: Path) -> dict[str, Any]:
    """Returns the judgement of the outputs, recipe, bytes and the share of work in integers.

    Raises:
        EdgekitError: it cannot be captured, is refused by what the planner knows, or cannot be converted.
    """
    from edgekit.analysis.graph import Analysis
    from edgekit.artifact import measure_files
    from edgekit.errors import ConversionError
    from edgekit.pipeline.analysis import ANALYSIS_NAME
    from edgekit.pipeline.convert import why_not_made
    from edgekit.planner.recipes import resolve_precision
    from edgekit.workers.structure import read_value

    model, calibration = captured(name, work)
    recipe = resolve_precision(precision, model.family, runtime)
    analysis = read_value(model.path.parent / ANALYSIS_NAME, Analysis)
    if reason := why_not_made(model, analysis)(runtime, recipe):
        raise ConversionError(reason)
    path, made = converted(model, runtime, recipe, calibration, folder)
    inputs, outputs = [spec.name for spec in made.inputs], [spec.name for spec in made.outputs]
    wanted = judged(name, work)
    got, session = run_file(runtime, path, wanted.rows, inputs, outputs)
    row: dict[str, Any] = judgement(wanted.expected, got) | {"recipe": recipe.name, "family": model.family}
    row["bytes"] = measure_files(path)[0]
    if precision != "fp32":
        row["integers"] = integer_share(session.operators())
        row["notes"] = list(made.notes)[:6]
    return row
