"""What stands between a model and a format, found before anything is promised."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import ConversionError, DataError, EdgekitError, ModelError
from edgekit.exporting.inputs import FLOAT_RECIPE
from edgekit.formats.table import find_format
from edgekit.model import CapturedModel
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import convert, why_not_made
from edgekit.pipeline.settings import Settings
from edgekit.planner.plan import FormatObstacle
from edgekit.task.task import Task


def find_obstacles(
    task: Task, model: CapturedModel, formats: Sequence[str], settings: Settings, *, trial: bool
) -> tuple[FormatObstacle, ...]:
    """Returns the formats that the model cannot become at any precision, each with the reason.

    An ONNX file is imported into torch for every format but ONNX: if that fails, none of them can be made. The export
    finds the import in the cache.

    Args:
        task: What to export.
        model: The captured model.
        formats: The formats in question.
        settings: How to run.
        trial: Convert the float model to each format too, which takes some seconds each.
    """
    found: dict[str, str] = {}
    start = model
    # An imported model starts the formats that do not take it as it is.
    others = [name for name in formats if find_format(name).kind_from(model.kind) != model.kind]
    if others:
        try:
            start = capture_model(task, settings, as_torch=True)
        except (ModelError, DataError, ConversionError) as error:
            found = dict.fromkeys(others, _sentence(error))
    for name in formats if trial else ():
        if name not in found and (reason := _why_not_converted(name, model, start, settings)):
            found[name] = reason
    return tuple(FormatObstacle(runtime=name, reason=found[name]) for name in formats if name in found)


def _why_not_converted(runtime: str, model: CapturedModel, as_torch: CapturedModel, settings: Settings) -> str:
    """Returns why a trial conversion to a format failed, "" where it did not or was refused before."""
    from edgekit.pipeline.analysis import analyze_model

    if why_not_made(model, analyze_model(model, settings))(runtime, FLOAT_RECIPE):
        return ""
    start = model if find_format(runtime).kind_from(model.kind) == model.kind else as_torch
    try:
        convert(start, runtime, FLOAT_RECIPE, None, settings)
    except EdgekitError as error:
        return _sentence(error)
    return ""


def _sentence(error: EdgekitError) -> str:
    return error.message.splitlines()[0]
