"""What MediaPipe Tasks learn about outputs; `tests/clients` asks MediaPipe itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.converters.tflite_tasks import client_outputs
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput
from edgekit.task.task import ImagePreprocessing

SPEC = TensorSpec(name="x", shape=(1, 3, 32, 32), dtype="float32", layout="NCHW")
EMPTY: Any = SimpleNamespace(subgraphs=[SimpleNamespace(operators=[], outputs=[0])], operatorCodes=[])
HEAD = (("decoder", "retinanet"), ("strides", "8"), ("sizes", "0.5"), ("ratios", "1"))


def image(task: str | None, head: tuple[tuple[str, Any], ...] = (), labels: tuple[str, ...] = ("a", "b", "c", "d"),
          calibration: str = "") -> ImageInput:  # fmt: skip
    return ImageInput(
        spec=SPEC, steps=ImagePreprocessing(), task=task, head=head, labels=labels, score_calibration=calibration
    )


def outputs(*shapes: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=f"y{i}", shape=shape, dtype="float32") for i, shape in enumerate(shapes))


@pytest.mark.parametrize("swapped", [False, True], ids=["boxes first", "scores first"])
def test_a_head_with_anchors_is_known_by_its_decoder(swapped: bool) -> None:
    shapes = ((1, 16, 4), (1, 16, 4))  # as many classes as numbers of a box: only the place can tell
    found = client_outputs(EMPTY, image("detection", (*HEAD, ("rows_first", True))), outputs(*shapes))
    assert found.names == ("location", "score")
    assert (found.boxes, found.labelled, found.note) == (0, 1, "")
    assert found.custom is not None
    three = ((1, 16, 3), (1, 16, 4)) if swapped else ((1, 16, 4), (1, 16, 3))
    found = client_outputs(EMPTY, image("detection", (*HEAD, ("rows_first", True)), ("a", "b", "c")), outputs(*three))
    assert found.names == (("score", "location") if swapped else ("location", "score"))
    assert (found.boxes, found.labelled) == ((1, 0) if swapped else (0, 1))


def test_a_finished_head_has_labels_by_number_and_calibrated_scores() -> None:
    wanted = image("detection", (("decoder", "ssd_finished"),), calibration="1,1,0\n" * 4)
    found = client_outputs(EMPTY, wanted, outputs((1, 9, 4), (1, 9), (1, 9), (1,)))
    assert found.names == ("location", "category", "score", "number of detections")
    assert (found.boxes, found.labelled, found.by_value, found.scored, found.note) == (0, 1, True, 2, "")


@pytest.mark.parametrize(
    ("head", "words"),
    [(HEAD, "the head retinanet"), ((), "a head of which [head] names no decoder")],
    ids=["columns first", "no decoder"],
)
def test_a_head_that_mediapipe_cannot_read_is_reported(head: tuple[tuple[str, Any], ...], words: str) -> None:
    found = client_outputs(EMPTY, image("detection", head), outputs((1, 16, 4), (1, 16, 3)))
    assert found.note == (
        f"MediaPipe's ObjectDetector does not read {words} of the outputs (1, 16, 4), (1, 16, 3): it takes [head] "
        'decoder = "retinanet" with rows_first = true, (1, anchors, 4) and (1, anchors, classes), or decoder = '
        '"ssd_finished" with (1,) detections.'
    )
    assert found.custom is None


def test_a_map_with_classes_last_is_a_segmentation() -> None:
    found = client_outputs(EMPTY, image("segmentation"), outputs((1, 16, 16, 4)))
    assert (found.labelled, found.note) == (0, "")
    assert found.custom is not None
    assert found.custom[0] == "SEGMENTER_METADATA"


def test_a_map_with_classes_first_is_reported() -> None:
    found = client_outputs(EMPTY, image("segmentation"), outputs((1, 4, 16, 16)))
    assert found.note == (
        "MediaPipe's ImageSegmenter does not read the outputs (1, 4, 16, 16): it takes one map (1, H, W, classes). End "
        "a model with channels first by permute(0, 2, 3, 1)."
    )


def test_a_classifier_keeps_the_names_of_its_outputs() -> None:
    found = client_outputs(EMPTY, image(None), outputs((1, 7), (1, 4)))
    assert (found.names, found.labelled, found.scored, found.custom) == (("y0", "y1"), 1, None, None)
    calibrated = client_outputs(EMPTY, image("classification", calibration="1,1,0\n" * 4), outputs((1, 4)))
    assert calibrated.scored == 0
