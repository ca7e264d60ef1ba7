"""A cell as edgekit makes it: refused for what the planner knows, or converted and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capture import CALIBRATION_ROWS, Judged, captured, drawn, flat, judged, silent
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
    from edgekit.planner.other_integers import NEAR_DB
    from edgekit.planner.recipes import resolve_precision

    model, calibration = captured(name, work)
    dense = analysis_of(model).has_dense_outputs
    recipe = resolve_precision(precision, model.family, runtime, dense_outputs=dense)
    row = _made(name, runtime, recipe, work, calibration, folder / "first")
    if precision == "int8" and row["db"] < NEAR_DB:
        other = nearer_recipe(name, runtime, recipe, work, folder)
        if other != recipe:
            first = f"{recipe.name} has {row['db']:.1f} dB"
            row = _made(name, runtime, other, work, calibration, folder / "last") | {"instead_of": first}
    return row


def analysis_of(model: Any) -> Any:
    """Returns the costed graph that lies beside a captured model."""
    from edgekit.analysis.graph import Analysis
    from edgekit.pipeline.analysis import ANALYSIS_NAME
    from edgekit.workers.structure import read_value

    return read_value(model.path.parent / ANALYSIS_NAME, Analysis)


def nearer_recipe(name: str, runtime: str, recipe: Any, work: Path, folder: Path) -> Any:
    """Returns the recipe that an export makes instead: ranges from 12 of the 16 samples, compared on the other four."""
    import torch
    from zoo import build

    from edgekit.errors import EdgekitError
    from edgekit.planner.other_integers import MeasuredRecipe, nearest, other_integers
    from edgekit.samples import write_samples

    rows = drawn(name, "calibration", CALIBRATION_ROWS)
    tuning = [row for i, row in enumerate(rows) if i % 4 != 3]
    held_out = rows[3::4]
    model, _ = captured(name, work)
    write_samples(folder / "tuning", [spec.name for spec in model.inputs], map(flat, tuning))
    module = build(name)
    with torch.no_grad():
        wanted = Judged(rows=[flat(row) for row in held_out], expected=[flat(module(*row)) for row in held_out])
    made: list[str] = []

    def measured(one: Any) -> MeasuredRecipe | None:
        made.append(one.name)
        place = folder / f"try{len(made)}"
        try:
            row = _made(name, runtime, one, work, folder / "tuning", place, wanted)
        except EdgekitError:
            return None
        return MeasuredRecipe(recipe=one, parity_db=row["db"])

    base = measured(recipe)
    if base is None:
        return recipe
    found, _ = nearest(base, other_integers(recipe), measured)
    return found.recipe


def _made(
    name: str, runtime: str, recipe: Any, work: Path, calibration: Path, folder: Path, wanted: Judged | None = None
) -> dict[str, Any]:
    from edgekit.artifact import measure_files
    from edgekit.errors import ConversionError
    from edgekit.pipeline.convert import why_not_made

    model, _ = captured(name, work)
    if reason := why_not_made(model, analysis_of(model))(runtime, recipe):
        raise ConversionError(reason)
    folder.mkdir()
    path, made = converted(model, runtime, recipe, calibration, folder)
    inputs, outputs = [spec.name for spec in made.inputs], [spec.name for spec in made.outputs]
    wanted = wanted or judged(name, work)
    got, session = run_file(runtime, path, wanted.rows, inputs, outputs)
    row: dict[str, Any] = judgement(wanted.expected, got) | {"recipe": recipe.name, "family": model.family}
    row["bytes"] = measure_files(path)[0]
    if recipe.default != "fp32":
        row["integers"] = integer_share(session.operators())
        row["notes"] = list(made.notes)[:6]
    return row
