"""What MediaPipe Tasks are told about a file's outputs, so that ObjectDetector and ImageSegmenter read them.

ObjectDetector takes two outputs of a head with anchors (offsets as y, x, height, width, and scores), which it decodes
and suppresses itself, or four of a head that is finished. ImageSegmenter takes one map with the classes last.
Sources: MediaPipe, tasks/metadata/*.fbs, tasks/cc/components/processors/detection_postprocessing_graph.cc and
tasks/cc/vision/image_segmenter/image_segmenter_graph.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.tflite_protocols import TFLiteModel
from edgekit.converters.flatbuffer_tables import TableWriter, byte, number, offset, real
from edgekit.converters.tflite_file import operators
from edgekit.heads.client_form import RawForm
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput
from edgekit.task.picture_readers import boxes_place, detector_form, is_class_map

_IDENTIFIER: Final = b"V001"
_NONE, _SIGMOID, _SOFTMAX = 0, 1, 2  # of Activation in image_segmenter_metadata_schema.fbs
_FINISHED_NAMES: Final = ("location", "category", "score", "number of detections")
_PASSING: Final = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "TRANSPOSE"})
"""Operators between a softmax and an output that leave probabilities what they are."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOutputs:
    """How a client reads a file's outputs.

    Attributes:
        names: What each is called in the metadata.
        boxes: Place of the finished boxes, or of the offsets; None where there are none.
        labelled: Place of the output that the labels name; None where there is none.
        by_value: The output holds class numbers; else its last axis has an entry a class.
        scored: Place of the output whose scores the client calibrates; None where it calibrates none.
        custom: Name and content of what one client alone reads; None for nothing.
        note: What the user should know; empty for nothing.
    """

    names: tuple[str, ...]
    boxes: int | None = None
    labelled: int | None = None
    by_value: bool = False
    scored: int | None = None
    custom: tuple[str, bytes] | None = None
    note: str = ""


def client_outputs(model: TFLiteModel, image: ImageInput, outputs: Sequence[TensorSpec]) -> ClientOutputs:
    """Returns how MediaPipe Tasks read the outputs of a file that takes pixels."""
    if image.task == "segmentation":
        return _segmentation(model, image, outputs)
    if image.task == "detection":
        return _detection(image, outputs)
    labelled = _labelled(image, outputs)
    return ClientOutputs(names=_own_names(outputs), labelled=labelled, scored=_calibrated(image, labelled))


def _calibrated(image: ImageInput, place: int | None) -> int | None:
    return place if image.score_calibration else None


def _own_names(outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in outputs)


def _labelled(image: ImageInput, outputs: Sequence[TensorSpec]) -> int | None:
    """Returns the place of the output whose last axis has one entry a label."""
    count = len(image.labels)
    return next((i for i, spec in enumerate(outputs) if count and spec.shape[-1:] == (count,)), None)


def _segmentation(model: TFLiteModel, image: ImageInput, outputs: Sequence[TensorSpec]) -> ClientOutputs:
    names, labelled = _own_names(outputs), _labelled(image, outputs)
    if not is_class_map(image, outputs):
        shapes = ", ".join(str(spec.shape) for spec in outputs)
        note = (
            f"MediaPipe's ImageSegmenter does not read the outputs {shapes}: it takes one map (1, H, W, classes). End "
            "a model with channels first by permute(0, 2, 3, 1)."
        )
        return ClientOutputs(names=names, labelled=labelled, note=note)
    activation = _NONE if _gives_probabilities(model) else _SIGMOID if outputs[0].shape[3] == 1 else _SOFTMAX
    return ClientOutputs(names=names, labelled=labelled, custom=("SEGMENTER_METADATA", _segmenter_options(activation)))


def _gives_probabilities(model: TFLiteModel) -> bool:
    """Returns whether the first output comes from a softmax or a sigmoid."""
    graph = model.subgraphs[0]
    writers = {int(i): (kind, item) for owner, item, kind in operators(model) if owner is graph for i in item.outputs}
    place = int(graph.outputs[0])
    while place in writers:
        kind, operator = writers[place]
        if kind in ("SOFTMAX", "LOGISTIC"):
            return True
        if kind not in _PASSING:
            return False
        place = int(operator.inputs[0])
    return False


def _detection(image: ImageInput, outputs: Sequence[TensorSpec]) -> ClientOutputs:
    form = detector_form(image, outputs)
    if isinstance(form, RawForm):
        boxes = boxes_place(form, outputs)
        classes = outputs[1 - boxes].shape[-1]
        labelled = 1 - boxes if len(image.labels) == classes else None
        names = ("location", "score") if boxes == 0 else ("score", "location")
        custom = ("DETECTOR_METADATA", _detector_options(form, classes))
        return ClientOutputs(names=names, boxes=boxes, labelled=labelled, custom=custom)
    if form is not None:
        labelled, scored = (1 if image.labels else None), _calibrated(image, 2)
        return ClientOutputs(names=_FINISHED_NAMES, boxes=0, labelled=labelled, by_value=True, scored=scored)
    name = dict(image.head).get("decoder")
    head = f"the head {name}" if name else "a head of which [head] names no decoder"
    note = (
        f"MediaPipe's ObjectDetector does not read {head} of the outputs "
        f'{", ".join(str(spec.shape) for spec in outputs)}: it takes [head] decoder = "retinanet" with rows_first = '
        'true, (1, anchors, 4) and (1, anchors, classes), or decoder = "ssd_finished" with (1,) detections.'
    )
    return ClientOutputs(names=_own_names(outputs), labelled=_labelled(image, outputs), note=note)


def _segmenter_options(activation: int) -> bytes:
    writer = TableWriter()
    return writer.finish(writer.table(2, byte(0, activation)), _IDENTIFIER)


def _detector_options(form: RawForm, classes: int) -> bytes:
    """Returns ObjectDetectorOptions: fixed anchors, and how offsets from them become boxes."""
    writer = TableWriter()
    fixed = [
        writer.table(4, *(real(field, float(value)) for field, value in enumerate(anchor))) for anchor in form.anchors
    ]
    anchors = writer.table(1, offset(0, writer.table(1, offset(0, writer.tables(fixed)))))
    counts = {0: classes, 1: len(form.anchors), 2: 4, 5: 2}  # classes, boxes, numbers of a box, numbers of a keypoint
    decoding = writer.table(
        12,
        *(number(field, value) for field, value in counts.items()),
        *(real(field, 1.0) for field in range(6, 10)),  # scales of x, y, width, height
        byte(10, 1),  # sides are exponentials
        byte(11, int(form.logits)),
    )
    return writer.finish(writer.table(3, offset(1, anchors), offset(2, decoding)), _IDENTIFIER)
