from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.table import find_decoder
from edgekit.heads.yolov8 import YoloV8

SIZE = (64, 96)
STRIDES = (8, 16, 32)
CELLS = 8 * 12 + 4 * 6 + 2 * 3


def published_decode(maps, bins):
    """Box and class probabilities of every cell, one by one: softmax expectation, (centre -+ distance) x stride."""
    boxes, scores = [], []
    for level, stride in zip(maps, STRIDES, strict=True):
        for y in range(level.shape[1]):
            for x in range(level.shape[2]):
                sides = []
                for side in range(4):
                    raised = np.exp(level[side * bins : (side + 1) * bins, y, x])
                    sides.append(
                        sum(i * p for i, p in enumerate(raised / raised.sum())) if bins > 1 else level[side, y, x]
                    )
                left, top, right, bottom = sides
                boxes.append([(x + 0.5 - left) * stride, (y + 0.5 - top) * stride,
                              (x + 0.5 + right) * stride, (y + 0.5 + bottom) * stride])  # fmt: skip
                scores.append(1 / (1 + np.exp(-level[4 * bins :, y, x])))
    return np.array(boxes), np.array(scores)


@pytest.fixture
def maps(generator):
    return [generator.standard_normal((4 * 16 + 3, 64 // s, 96 // s)) for s in STRIDES]


def test_raw_maps_decode_as_published(maps):
    found = YoloV8().predict(tuple(maps), SIZE)
    boxes, scores = published_decode(maps, 16)
    assert np.abs(found.boxes - boxes).max() < 1e-3
    assert np.abs(found.scores - scores).max() < 1e-6


def test_boxes_and_classes_as_maps_of_their_own_decode_the_same(maps):
    split = [part for level in maps for part in (level[:64], level[64:])]
    one, other = YoloV8().predict(tuple(maps), SIZE), YoloV8().predict(tuple(split), SIZE)
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize("form", ["joined", "transposed", "members"])
def test_exported_boxes_are_centres_and_sizes_in_pixels(generator, form):
    rows = generator.uniform(1, 60, (7, CELLS))
    outputs = {"joined": (rows,), "transposed": (rows.T,), "members": (rows[:4], rows[4:])}[form]
    found = YoloV8(classes=3).predict(outputs, SIZE)
    assert np.allclose(found.boxes[5], [rows[0, 5] - rows[2, 5] / 2, rows[1, 5] - rows[3, 5] / 2,
                                        rows[0, 5] + rows[2, 5] / 2, rows[1, 5] + rows[3, 5] / 2])  # fmt: skip
    assert np.array_equal(found.scores, rows[4:].T)


def test_normalized_boxes_are_multiplied_with_the_input_s_sides(generator):
    rows = generator.uniform(0, 1, (5, CELLS))
    large = rows * np.array([96, 64, 96, 64, 1])[:, None]
    assert np.allclose(YoloV8(normalized=True).predict((rows,), SIZE).boxes, YoloV8().predict((large,), SIZE).boxes)


def test_ultralytics_decodes_the_same(ultralytics_head, maps):
    import torch

    head = ultralytics_head.Detect(nc=3, ch=(8, 8, 8)).eval()
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    levels = [torch.from_numpy(level[None].astype(np.float32)) for level in maps]
    boxes = torch.cat([level[:, :64].flatten(2) for level in levels], 2)
    scores = torch.cat([level[:, 64:].flatten(2) for level in levels], 2)
    joined = head._inference({"boxes": boxes, "scores": scores, "feats": levels})[0].numpy()
    ours, theirs = YoloV8().predict(tuple(maps), SIZE), YoloV8().predict((joined,), SIZE)
    assert np.abs(ours.boxes - theirs.boxes).max() < 1e-3
    assert np.abs(ours.scores - theirs.scores).max() < 1e-5


def test_keypoints_follow_the_classes(generator):
    rows = generator.uniform(0, 60, (4 + 1 + 6, CELLS))
    found = YoloV8(keypoints=2).predict((rows,), SIZE)
    assert found.scores.shape == (CELLS, 1)
    assert np.array_equal(found.keypoints[3], rows[5:, 3].reshape(2, 3))


def test_masks_are_prototypes_weighed_cut_to_the_box(generator):
    rows = np.zeros((4 + 1 + 2, CELLS))
    rows[:5, 0] = 32, 32, 40, 40, 0.9
    rows[5:, 0] = 1, -1
    prototypes = np.stack([np.ones((16, 24)), np.zeros((16, 24))])
    prototypes[1, :, 12:] = 2  # negative in the right half
    found = YoloV8(classes=1).decode((rows, prototypes), SIZE)
    assert found.masks.shape == (1, 64, 96)
    assert found.masks[0, 32, 20]
    assert not found.masks[0, 32, 52]  # in the box, where the second prototype wins
    assert not found.masks[0, 32, 4]  # outside of the box


def test_yolo11_has_the_same_head():
    assert find_decoder("yolo11", {}) == YoloV8()


def test_other_shapes_are_refused_with_what_was_expected():
    assert YoloV8(classes=3).why_not(((8, CELLS),), SIZE) == (
        f"they have the shapes (8, {CELLS}); expected (4 + classes, {CELLS}) with 3 classes"
    )
