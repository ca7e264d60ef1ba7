"""Core ML packages as Vision takes them: an image in, and out of a classifier its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from edgekit.converters.coreml_pipeline import Suppression
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

LABEL: Final = "classLabel"
PROBABILITIES: Final = "classLabel_probs"
"""coremltools' names of a classifier's outputs."""


def image_type(ct: ModuleType, spec: TensorSpec, image: ImageInput) -> Any:
    """Returns coremltools' description of an input that is a picture; Core ML itself puts the channels in order."""
    order = "GRAYSCALE" if image.channels == 1 else "BGR" if image.turned else "RGB"
    return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=getattr(ct.colorlayout, order))


def with_image(
    inputs: Sequence[TensorSpec], captured: Sequence[TensorSpec], image: ImageInput
) -> tuple[TensorSpec, ...]:
    """Returns the artifact's inputs with pixels in the place of the picture, under the artifact's name for it.

    Args:
        inputs: The artifact's.
        captured: The float model's, in the same order.
        image: Which of them is the picture.
    """
    return tuple(
        image.pixel_spec(spec.name, "NCHW") if known.name == image.spec.name else spec
        for spec, known in zip(inputs, captured, strict=True)
    )


def classifier(ct: ModuleType, classes: Sequence[str]) -> Any:
    """Returns coremltools' description of a classifier, None for a model that is none."""
    return ct.ClassifierConfig(list(classes), predicted_feature_name=LABEL) if classes else None


def classes_of(image: ImageInput | None, outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Returns the labels of a classifier; empty for what Core ML's classifiers cannot be.

    They have one output with an entry a label, and a dictionary as its result: no label is there twice.
    """
    labels = image.labels if image is not None else ()
    fits = len(outputs) == 1 and outputs[0].shape == (1, len(labels)) and outputs[0].dtype == "float32"
    return labels if fits and len(set(labels)) == len(labels) else ()


def classifier_outputs(outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Returns what a classifier gives: the entries in the order of the labels. The best label follows from these."""
    return (replace(outputs[0], name=PROBABILITIES),)


def image_notes(
    image: ImageInput | None, classes: Sequence[str], suppression: Suppression | str | None = None
) -> tuple[str, ...]:
    """Returns what the user should know about the interface.

    Args:
        image: The input that is a picture; None where none is.
        classes: Labels of a classifier.
        suppression: How a detector's boxes are chosen, or why Core ML does not choose them; None for no detector.
    """
    if image is None:
        return ()
    width, height = image.size
    size = f"{width} x {height}, {'RGB' if image.channels > 1 else 'grey'}"
    notes = [f'"{image.spec.name}" is an image of {size}; the preprocessing is inside.']
    if classes:
        notes.append(f"It is a classifier of {len(classes)} labels; its scores are what the model returns.")
    elif isinstance(suppression, Suppression):
        notes.append(
            f"It is a detector of {len(suppression.labels)} labels for Vision: boxes that overlap by more than "
            f"{suppression.iou:g} or score below {suppression.score:g} go, unless the app says otherwise. What was "
            "judged are the head's own outputs, before that."
        )
    elif suppression:
        notes.append(f"It is no detector for Vision, and gives its own outputs: {suppression}.")
    elif image.labels:
        notes.append("It is no classifier: Core ML's have one output (1, N) with N labels, each of them once.")
    return tuple(notes)
