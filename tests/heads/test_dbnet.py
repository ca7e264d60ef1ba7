from __future__ import annotations

import numpy as np

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
