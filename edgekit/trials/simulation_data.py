"""What a simulation needs: the model as a torch program, and its calibration samples."""

from __future__ import annotations

from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.samples import prepare_samples
from edgekit.pipeline.settings import Settings
from edgekit.registry import DEFAULT_FORMAT
from edgekit.samples import Samples
from edgekit.simulation.realisation import why_not_simulated
from edgekit.task.task import Task


def ready_to_simulate(task: Task, model: CapturedModel, settings: Settings) -> tuple[CapturedModel, Samples] | str:
    """Returns the model as torch and the calibration samples, or why recipes cannot be simulated with them."""
    samples = prepare_samples(task, model, "calibration", settings)
    if samples is None:
        return "the task has no calibration data; give --calibration, or [data] calibration in edgekit.toml"
    if reason := why_not_simulated(DEFAULT_FORMAT, model.kind):
        return reason
    if model.kind == "pt2":
        return model, samples
    try:
        return capture_model(task, settings, as_torch=True), samples
    except EdgekitError as error:
        return error.message.splitlines()[0]
