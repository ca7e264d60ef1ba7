from __future__ import annotations

import numpy as np

from edgekit.heads.yolo26 import Yolo26

SIZE = (64, 96)


def test_finished_rows_are_corners_score_and_class():
    rows = np.array([[1, 2, 30, 40, 0.9, 2], [5, 6, 70, 60, 0.4, 0]], np.float32)
    found = Yolo26().decode((rows[None],), SIZE)
    assert np.allclose(found.boxes, rows[:, :4])
    assert np.allclose(found.scores, [0.9, 0.4])
    assert found.classes.tolist() == [2, 0]


def test_overlapping_boxes_stay_for_the_model_has_suppressed_them():
    rows = np.array([[1, 2, 30, 40, 0.9, 1], [1, 2, 30, 41, 0.8, 1]], np.float32)
    assert len(Yolo26().decode((rows,), SIZE).scores) == 2


def test_points_stand_behind_the_class():
    rows = np.array([[0, 0, 1, 1, 0.9, 0, 0.25, 0.5, 0.7]])
    found = Yolo26(keypoints=1, normalized=True).decode((rows,), SIZE)
    assert np.allclose(found.keypoints, [[[24, 32, 0.7]]])


def test_raw_distances_have_no_bins(generator):
    maps = [generator.standard_normal((4 + 2, 64 // s, 96 // s)) for s in (8, 16, 32)]
    found = Yolo26().predict(tuple(maps), SIZE)
    left, top, right, bottom = maps[0][:4, 1, 2]
    expected = [(2.5 - left) * 8, (1.5 - top) * 8, (2.5 + right) * 8, (1.5 + bottom) * 8]
    assert np.abs(found.boxes[12 + 2] - expected).max() < 1e-3


def test_ultralytics_decodes_the_same(ultralytics_head, generator):
    import torch

    head = ultralytics_head.Detect(nc=2, reg_max=1, end2end=True, ch=(8, 8, 8)).eval()
    head.xyxy = True  # as its one-to-one branch, which is not made here
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    maps = [generator.standard_normal((4 + 2, 64 // s, 96 // s)) for s in (8, 16, 32)]
    levels = [torch.from_numpy(level[None].astype(np.float32)) for level in maps]
    parts = {
        "boxes": torch.cat([level[:, :4].flatten(2) for level in levels], 2),
        "scores": torch.cat([level[:, 4:].flatten(2) for level in levels], 2),
        "feats": levels,
    }
    finished = head.postprocess(head._inference(parts).permute(0, 2, 1))[0].numpy()
    ours, theirs = Yolo26().decode(tuple(maps), SIZE), Yolo26().decode((finished,), SIZE)
    count = min(len(ours.scores), len(theirs.scores))
    assert count > 100
    assert np.abs(ours.boxes[:count] - theirs.boxes[:count]).max() < 1e-3
    assert ours.classes[:count].tolist() == theirs.classes[:count].tolist()


def test_other_shapes_are_refused_with_both_forms():
    assert Yolo26().why_not(((7, 7),), SIZE).endswith("channels of [96, 24, 6] cells, or (boxes, 6)")
