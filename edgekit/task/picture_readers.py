"""Which outputs of a model that takes pixels the platforms' detectors and segmenters read by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgekit.heads.client_form import FinishedForm, RawForm, client_form
from edgekit.heads.table import find_decoder
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

SUPPRESSION_KEY: Final = "edgekit.suppression"
"""Metadata entry, JSON: the two thresholds of an artifact in which the platform suppresses a detector's boxes."""

_FINISHED_RANKS: Final = [3, 2, 2, 1]


def detector_form(image: ImageInput, outputs: Sequence[TensorSpec]) -> RawForm | FinishedForm | None:
    """Returns the form in which MediaPipe's ObjectDetector reads the outputs, None where it cannot.

    Args:
        image: The input, with the task and the head of the model.
        outputs: The artifact's.
    """
    settings = dict(image.head)
    name = str(settings.pop("decoder", ""))
    if image.task != "detection" or not name:
        return None
    width, height = image.size
    shapes = tuple(spec.shape[1:] for spec in outputs)
    decoder = find_decoder(name, settings)
    form = None if decoder.why_not(shapes, (height, width)) else client_form(decoder, (height, width))
    if isinstance(form, FinishedForm) and [len(spec.shape) for spec in outputs] != _FINISHED_RANKS:
        return None
    if isinstance(form, RawForm) and any(shape[:-1] != (len(form.anchors),) for shape in shapes):
        return None
    return form


def boxes_place(form: RawForm, outputs: Sequence[TensorSpec]) -> int:
    """Returns the place of the offsets among the two outputs of a head with anchors."""
    return next(i for i, spec in enumerate(outputs) if spec.shape == (1, len(form.anchors), 4))


def is_class_map(image: ImageInput, outputs: Sequence[TensorSpec]) -> bool:
    """Returns whether MediaPipe's ImageSegmenter reads the outputs: one map (1, H, W, classes)."""
    shapes = [spec.shape for spec in outputs]
    return (
        image.task == "segmentation" and len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][3] < min(shapes[0][1:3])
    )
