from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.dbnet import DbNet

SIZE = (64, 96)


def test_a_region_is_enlarged_by_area_times_ratio_over_perimeter():
    chances = np.zeros((1, 64, 96))
    chances[0, 20:30, 10:50] = 0.9
    found = DbNet().decode((chances,), SIZE)
    far = 40 * 10 * 1.5 / (2 * (40 + 10))
    assert np.abs(found.boxes - [[10 - far, 20 - far, 50 + far, 30 + far]]).max() < 1e-3
    assert np.allclose(found.scores, 0.9)


def test_regions_that_touch_at_a_corner_are_one_and_thin_ones_go():
    chances = np.zeros((1, 32, 48))
    chances[0, 4:8, 4:8] = chances[0, 8:12, 8:12] = 0.8
    chances[0, 20:22, 4:40] = 0.9
    found = DbNet(unclip=0.0).decode((chances,), SIZE)
    assert found.boxes.tolist() == [[8, 8, 24, 24]]  # the map is half as large as the input


def test_weak_regions_and_empty_maps_find_nothing():
    assert len(DbNet().decode((np.full((1, 64, 96), 0.4),), SIZE).scores) == 0
    assert len(DbNet().decode((np.zeros((1, 64, 96)),), SIZE).scores) == 0


def test_other_shapes_are_refused_with_what_was_expected():
    assert DbNet().why_not(((3, 64, 96),), SIZE) == (
        "they have the shapes (3, 64, 96); expected one map (1, H, W) of the input's proportions"
    )


def test_rapidocr_finds_the_same_regions(generator):
    module = pytest.importorskip("rapidocr_onnxruntime.ch_ppocr_det.utils", exc_type=ImportError)
    chances = np.zeros((1, 1, 128, 192), np.float32)
    for top, left, height, width in [(10, 12, 12, 90), (40, 20, 9, 60), (70, 100, 14, 70), (100, 8, 10, 150)]:
        chances[0, 0, top : top + height, left : left + width] = generator.uniform(0.7, 0.95)
    chances[0, 0, 60:62, 5:60] = 0.9
    boxes, scores = module.DBPostProcess(box_thresh=0.6, unclip_ratio=1.5)(chances, (128, 192))
    found = DbNet().decode((chances[0],), (128, 192))
    wanted = np.concatenate([boxes.min(1), boxes.max(1)], 1)
    order, own = np.argsort(wanted[:, 1]), np.argsort(found.boxes[:, 1])
    assert len(wanted) == len(own) == 4
    # Its boxes go from the first pixel's number to the last one's, and are rounded to whole pixels.
    assert np.abs(found.boxes[own] - [0, 0, 1, 1] - wanted[order]).max() < 1.5
    assert np.abs(found.scores[own] - np.array(scores)[order]).max() < 1e-3
