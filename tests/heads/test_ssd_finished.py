from __future__ import annotations

import numpy as np

from edgekit.heads.ssd_finished import SsdFinished

SIZE = (64, 96)


def test_boxes_are_shares_with_y_first_and_only_the_counted_ones():
    boxes = np.array([[[0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1]]], np.float32)
    outputs = (boxes, np.array([[3.0, 1.0]]), np.array([[0.9, 0.8]]), np.array([1.0]))
    found = SsdFinished().decode(outputs, SIZE)
    assert found.boxes.tolist() == [[48, 16, 96, 48]]
    assert found.classes.tolist() == [3]
    assert found.scores.tolist() == [0.9]


def test_other_shapes_are_refused_with_what_was_expected():
    assert SsdFinished().why_not(((5, 4),), SIZE) == (
        "they have the shapes (5, 4); expected (n, 4), (n,), (n,) and (1,)"
    )
