from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.heads.yolov5 import YoloV5

SIZE = (64, 96)
ANCHORS = [[(10, 13), (16, 30), (33, 23)], [(30, 61), (62, 45), (59, 119)], [(116, 90), (156, 198), (373, 326)]]


def published_decode(maps, classes):
    """One anchor of one cell after another: xy = (2 s - 0.5 + cell) stride, wh = (2 s)^2 anchor."""
    boxes, scores = [], []
    for level, stride, anchors in zip(maps, (8, 16, 32), ANCHORS, strict=True):
        values = (1 / (1 + np.exp(-level))).reshape(3, 5 + classes, *level.shape[1:])
        for anchor, (width, height) in enumerate(anchors):
            for y in range(level.shape[1]):
                for x in range(level.shape[2]):
                    v = values[anchor, :, y, x]
                    cx, cy = (2 * v[0] - 0.5 + x) * stride, (2 * v[1] - 0.5 + y) * stride
                    w, h = (2 * v[2]) ** 2 * width, (2 * v[3]) ** 2 * height
                    boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    scores.append(v[4] * v[5:])
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("form", ["joined channels", "anchors apart"])
def test_raw_maps_decode_as_published(generator, form):
    maps = [generator.standard_normal((3 * 7, 64 // s, 96 // s)) for s in (8, 16, 32)]
    given = maps
    if form == "anchors apart":
        given = [m.reshape(3, 7, *m.shape[1:]).transpose(0, 2, 3, 1) for m in maps]
    found = YoloV5().predict(tuple(given), SIZE)
    boxes, scores = published_decode(maps, 2)
    assert np.abs(found.boxes - boxes).max() < 1e-3
    assert np.abs(found.scores - scores).max() < 1e-6


def test_exported_rows_are_boxes_in_pixels_and_a_product_of_scores(generator):
    rows = generator.uniform(0.1, 1, (3 * 126, 7))
    found = YoloV5().predict((rows,), SIZE)
    assert np.allclose(found.scores, rows[:, 4:5] * rows[:, 5:])
    assert np.allclose((found.boxes[:, :2] + found.boxes[:, 2:]) / 2, rows[:, :2])


def test_other_shapes_are_refused_with_what_was_expected():
    assert YoloV5(classes=4).why_not(((378, 7),), SIZE) == (
        "they have the shapes (378, 7); expected (378, 5 + classes), or 3 x (5 + classes) channels of [96, 24, 6] "
        "cells with 4 classes"
    )


def test_anchors_that_are_no_numbers_are_reported():
    with pytest.raises(DataError) as caught:
        YoloV5(anchors="a,b;c,d;e,f").why_not(((378, 7),), SIZE)
    assert caught.value.message == ('[head] anchors is "a,b"; expected numbers with commas between, such as "8,16,32".')


def test_yolov5_decodes_the_same(torchvision_detection, generator):
    torch = pytest.importorskip("torch")
    yolo = pytest.importorskip("yolov5.models.yolo", exc_type=ImportError)
    strides = torch.tensor([8.0, 16.0, 32.0])
    head = yolo.Detect(nc=2, anchors=[sum(level, ()) for level in ANCHORS], ch=(21, 21, 21)).eval()
    head.stride = strides
    head.anchors /= strides.view(-1, 1, 1)
    head.m = torch.nn.ModuleList([torch.nn.Identity()] * 3)
    maps = [generator.standard_normal((21, 64 // s, 96 // s)) for s in (8, 16, 32)]
    exported, raw = head([torch.from_numpy(level[None].astype(np.float32)) for level in maps])
    wanted = YoloV5().predict((exported[0].numpy(),), SIZE)
    for given in (maps, [level[0].numpy() for level in raw]):
        found = YoloV5().predict(tuple(given), SIZE)
        assert np.abs(found.boxes - wanted.boxes).max() < 1e-3
        assert np.abs(found.scores - wanted.scores).max() < 1e-5
    centres = (wanted.boxes[:, :2] + wanted.boxes[:, 2:]) / 2
    assert np.abs(centres - exported[0, :, :2].numpy()).max() < 1e-3
