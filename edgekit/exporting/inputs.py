"""What an export works on, once the user's code has run: model, data, float outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.converters.base import converter
from edgekit.errors import EdgekitError
from edgekit.formats.table import find_format
from edgekit.metrics.joined_outputs import joined_metadata
from edgekit.model import IMPORTABLE, CapturedModel
from edgekit.pipeline.artifact_metadata import CALIBRATION_KEY, LABELS_KEY, PREPROCESSING_KEY
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.samples import prepare_samples, reference_outputs, whole_pixels
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import pipeline_name
from edgekit.recipe import Recipe, Step
from edgekit.samples import Samples
from edgekit.task.image_input import ImageInput, requested_image_input
from edgekit.task.preprocessing import known_preprocessing
from edgekit.task.task import DEFAULT_MODEL_NAME, Task

FLOAT_RECIPE: Final = Recipe(default="fp32")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What an export works on, once the user's code has run.

    Attributes:
        task: The task.
        model: The float model.
        torch_model: The same captured as an exported program, for the formats that start from torch; equal to `model`
            unless the source is an ONNX file.
        calibration: None where the task names none.
        evaluation: None where the task names none.
        reference: The float model's outputs on `evaluation`.
    """

    task: Task
    model: CapturedModel
    torch_model: CapturedModel | EdgekitError
    calibration: Samples | None
    evaluation: Samples | None
    reference: Samples | None

    def image_for(self, runtime: str) -> ImageInput | None:
        """Returns the input that an artifact takes as pixels; None where it takes what the float model does.

        Raises:
            DataError: pixels are requested, and the model takes no picture, or nobody says what becomes of them.
        """
        if not self.task.image_input_stated and not converter(runtime).takes_pixels:
            return None
        return requested_image_input(self.task, self.model)

    def model_for(self, runtime: str) -> CapturedModel:
        """Returns the captured model that the converter of `runtime` starts from.

        Raises:
            ModelError: the source cannot be turned into what that converter needs.
        """
        if find_format(runtime).kind_from(self.model.kind) == self.model.kind:
            return self.model
        if isinstance(self.torch_model, EdgekitError):
            raise self.torch_model
        return self.torch_model


def read_inputs(
    task: Task,
    runtimes: Sequence[str],
    settings: Settings,
    *,
    model: CapturedModel | None = None,
    as_torch: bool = False,
    image: ImageInput | None = None,
) -> Inputs:
    """Captures the model, reads the data and runs the float model on it.

    Args:
        task: What to export.
        runtimes: Formats that will be made.
        settings: How to run.
        model: The captured model, where it is known already.
        as_torch: Every format will start from torch, because techniques change the model.
        image: The input that an artifact takes as pixels, where a finished one says so; else the task says it.

    Raises:
        EdgekitError: the model or the data is wrong.
    """
    model = model or capture_model(task, settings)
    torch_model: CapturedModel | EdgekitError = model
    turned = any(find_format(name).kind_from(model.kind) != model.kind for name in runtimes)
    if model.kind in IMPORTABLE and (as_torch or turned):
        try:
            torch_model = capture_model(task, settings, as_torch=True)
        except EdgekitError as error:
            # What starts from the file itself can still be made; the other formats will say why they cannot.
            torch_model = error
    known_preprocessing(task, model.inputs)  # a wrong table is reported before any work
    calibration = prepare_samples(task, model, "calibration", settings)
    evaluation = prepare_samples(task, model, "evaluation", settings)
    image = image or requested_image_input(task, model)
    if image is not None and evaluation is not None:
        evaluation = whole_pixels(evaluation, image, settings)
    reference = reference_outputs(model, evaluation, settings) if evaluation else None
    return Inputs(
        task=task,
        model=model,
        torch_model=torch_model,
        calibration=calibration,
        evaluation=evaluation,
        reference=reference,
    )


def describe_data(inputs: Inputs) -> dict[str, object]:
    """Returns hashes and counts of the data and the metric, for the report and the lock."""
    return {
        "metric": inputs.task.metric,
        "calibration": _describe_samples(inputs.calibration),
        "evaluation": _describe_samples(inputs.evaluation),
    }


def _describe_samples(samples: Samples | None) -> dict[str, object] | None:
    if samples is None:
        return None
    found: dict[str, object] = {"count": samples.count, "items": samples.items, "sha256": samples.sha256}
    lengths = samples.sequence_lengths()
    return {**found, "sequences": len(lengths), "longest_sequence": max(lengths)} if lengths else found


def artifact_metadata(inputs: Inputs, techniques: Sequence[Step] = (), recipe: Recipe | None = None) -> dict[str, str]:
    """Returns what is embedded in every artifact: provenance, labels, preprocessing. No time stamps: bytes repeat."""
    import edgekit

    model = inputs.model
    preprocessing = known_preprocessing(inputs.task, model.inputs)
    calibrated = recipe is not None and recipe.needs_calibration
    labels = model.metadata.get(LABELS_KEY)  # also of a model file that carries its own
    return {
        "edgekit.version": edgekit.__version__,
        "edgekit.source": DEFAULT_MODEL_NAME if model.embedded_default else model.source,
        "edgekit.model": model.name,
        "edgekit.digest": model.digest,
        **({"edgekit.embedded_default": "true"} if model.embedded_default else {}),
        **({"edgekit.techniques": pipeline_name(techniques)} if techniques else {}),
        **({CALIBRATION_KEY: inputs.calibration.sha256} if calibrated and inputs.calibration else {}),
        **({PREPROCESSING_KEY: json.dumps(preprocessing.to_json())} if preprocessing else {}),
        **({LABELS_KEY: labels} if labels else {}),
        **joined_metadata(model.joined),
        **{key: value for key, value in inputs.task.metadata.items() if key != "name"},
    }
