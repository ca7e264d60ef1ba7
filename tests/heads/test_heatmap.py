from __future__ import annotations

import numpy as np

from edgekit.heads.heatmap import Heatmap

SIZE = (64, 96)


def published_points(maps):
    """HRNet's get_final_preds, one point after another, in pixels of the input."""
    points = []
    for level in maps:
        y, x = np.unravel_index(level.argmax(), level.shape)
        px, py = float(x), float(y)
        if 0 < x < level.shape[1] - 1 and 0 < y < level.shape[0] - 1:
            px += 0.25 * np.sign(level[y, x + 1] - level[y, x - 1])
            py += 0.25 * np.sign(level[y + 1, x] - level[y - 1, x])
        points.append([4 * px, 4 * py, level.max()])
    return np.array(points)


def test_points_decode_as_published(generator):
    maps = generator.standard_normal((5, 16, 24))
    maps[0, 0, 3] = 9  # at the edge nothing is moved
    assert np.abs(Heatmap().predict((maps,), SIZE).keypoints[0] - published_points(maps)).max() < 1e-3
    last = Heatmap(channels_last=True).predict((maps.transpose(1, 2, 0),), SIZE)
    assert np.abs(last.keypoints[0] - published_points(maps)).max() < 1e-3


def test_other_shapes_are_refused_with_what_was_expected():
    assert Heatmap().why_not(((5, 16, 16),), SIZE) == (
        "they have the shapes (5, 16, 16); expected one (points, h, w) of the input's proportions"
    )
