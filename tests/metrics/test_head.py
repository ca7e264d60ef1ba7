"""Which decoder reads a model's outputs, where the task does not say it."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.heads.yolov8 import YoloV8
from edgekit.metrics.head import Head, found_by_data, picture_size
from edgekit.metrics.metric_data import MetricData
from edgekit.registry import DECODERS

SIZE = (64, 64)
CELLS = 84


def data_of(outputs, targets=None, shape=(1, 3, 64, 64)):
    return MetricData(
        outputs=outputs, reference=None, names=tuple("abc"[: len(outputs)]), targets=targets,
        item_of_row=np.arange(len(outputs[0])), items=len(outputs[0]), input_shapes=(shape,),
    )  # fmt: skip


@pytest.fixture
def yolo_rows():
    """One confident box a picture among 84 cells with 3 classes, and the table that holds it."""
    generator = np.random.default_rng(0)
    rows = np.zeros((20, 7, CELLS), np.float32)
    rows[:, :4] = 20
    rows[:, :2, 3] = generator.uniform(20, 40, (20, 2))
    rows[:, 2:4, 3] = generator.uniform(8, 30, (20, 2))
    rows[:, 5, 3] = 0.9
    centre, sides = rows[:, :2, 3], rows[:, 2:4, 3]
    table = np.concatenate([centre - sides / 2, centre + sides / 2, np.ones((20, 1))], 1)[:, None]
    return rows, table


def test_labels_tell_a_head_from_another_that_the_shapes_allow(yolo_rows):
    rows, table = yolo_rows
    assert found_by_data("map", data_of((rows,), table), SIZE) == YoloV8()


def test_without_labels_the_float_model_s_decisions_must_lie_in_the_picture(yolo_rows):
    rows, _ = yolo_rows
    assert found_by_data("map", data_of((rows,)), SIZE) == YoloV8()


def test_outputs_that_no_decoder_reads_are_left_to_the_user():
    with pytest.raises(DataError) as caught:
        found_by_data("map", data_of((np.zeros((4, 5, 11)),)), SIZE)
    assert caught.value.message == (
        "The metric map cannot tell which head the outputs (5, 11) are of: no decoder's default settings fit them. Say "
        'it in the task file: [head] decoder = "yolov8", with its settings; the decoders: ' + ", ".join(DECODERS) + "."
    )


def test_a_head_whose_boxes_are_wrong_is_left_to_the_user(yolo_rows):
    rows, table = yolo_rows
    table[:, :, :4] += 100
    with pytest.raises(DataError) as caught:
        found_by_data("map", data_of((rows,), table), SIZE)
    assert "their boxes are right to yolov8 0 %, yolox 0 %. Say it in the task file: [head] decoder = " in (
        caught.value.message
    )


def test_several_heads_that_are_right_are_left_to_the_user(yolo_rows, monkeypatch):
    rows, table = yolo_rows
    monkeypatch.setattr("edgekit.metrics.head.decoder_targets", lambda: {"one": "", "two": ""})
    made = {"one": YoloV8(), "two": YoloV8(iou=0.3)}
    rows[:, :, 5] = rows[:, :, 3]  # a second box that hits too, and goes at a smaller overlap
    rows[:, 2, 5] *= 0.6
    monkeypatch.setattr("edgekit.metrics.head.find_decoder", lambda name, _: made[name])
    with pytest.raises(DataError) as caught:
        found_by_data("map", data_of((rows,), table), SIZE)
    assert caught.value.message == (
        "The metric map cannot tell which head the outputs (7, 84) are of: several decoders read them, and their boxes "
        'are right to one 100 %, two 100 %. Say it in the task file: [head] decoder = "one", with its settings; the '
        "decoders: one, two."
    )


def test_settings_without_a_decoder_are_refused(yolo_rows):
    rows, table = yolo_rows
    with pytest.raises(DataError) as caught:
        Head(metric="map", settings={"classes": 3}).detections((rows,), data_of((rows,), table))
    assert caught.value.message == (
        "The metric map has settings of a decoder (classes) and no decoder: name one, "
        '[head] decoder = "yolov8" in the task file.'
    )


def test_height_and_width_are_read_from_either_layout():
    assert picture_size("map", data_of((np.zeros((1, 2)),), shape=(1, 3, 48, 64))) == (48, 64)
    assert picture_size("map", data_of((np.zeros((1, 2)),), shape=(1, 48, 64, 3))) == (48, 64)


def test_a_model_without_a_picture_has_no_boxes():
    with pytest.raises(DataError) as caught:
        picture_size("map", data_of((np.zeros((1, 2)),), shape=(1, 9)))
    assert caught.value.message == (
        "The metric map needs a model with one picture as input, (1, C, H, W) or (1, H, W, C); the inputs have the "
        "shapes (1, 9)."
    )
