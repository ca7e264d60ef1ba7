from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.yolox import YoloX

SIZE = (64, 96)


def test_rows_decode_as_published(generator):
    rows = generator.standard_normal((126, 7))
    found = YoloX().predict((rows,), SIZE)
    index = 0
    for stride in (8, 16, 32):
        for y in range(64 // stride):
            for x in range(96 // stride):
                tx, ty, tw, th, objectness, *classes = rows[index]
                cx, cy, w, h = (tx + x) * stride, (ty + y) * stride, np.exp(tw) * stride, np.exp(th) * stride
                assert np.abs(found.boxes[index] - [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).max() < 1e-3
                assert np.allclose(found.scores[index], objectness * np.array(classes))
                index += 1


def test_boxes_that_the_model_decoded_stay(generator):
    rows = generator.uniform(1, 50, (126, 6))
    found = YoloX(decoded=True).predict((rows,), SIZE)
    assert np.allclose(found.boxes[:, 2:] - found.boxes[:, :2], rows[:, 2:4])


def test_other_shapes_are_refused_with_what_was_expected():
    assert YoloX(classes=3).why_not(((126, 7),), SIZE) == (
        "they have the shapes (126, 7); expected (126, 5 + classes) with 3 classes"
    )


def test_yolox_decodes_the_same(torchvision_detection, generator):
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("yolox.models.yolo_head", exc_type=ImportError)
    head = module.YOLOXHead(2, width=0.1)
    head.hw = [(64 // stride, 96 // stride) for stride in (8, 16, 32)]
    rows = generator.standard_normal((126, 7)).astype(np.float32)
    decoded = head.decode_outputs(torch.from_numpy(rows[None].copy()), torch.float32)[0].numpy()
    found = YoloX().predict((rows,), SIZE)
    wanted = YoloX(decoded=True).predict((decoded,), SIZE)
    assert np.abs(found.boxes - wanted.boxes).max() < 1e-3
    assert np.abs((found.boxes[:, 2:] - found.boxes[:, :2]) - decoded[:, 2:4]).max() < 1e-3
    assert np.abs(found.scores - wanted.scores).max() < 1e-6
