from __future__ import annotations

import numpy as np

from edgekit.heads.suppression import overlaps, suppress

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10]], np.float64)
SCORES = np.array([0.8, 0.9, 0.5, 0.7])


def test_a_lower_score_of_the_same_class_goes():
    assert suppress(BOXES, SCORES, np.array([0, 0, 0, 0]), 0.5, 10).tolist() == [1, 2]


def test_another_class_stays():
    assert suppress(BOXES, SCORES, np.array([0, 0, 0, 1]), 0.5, 10).tolist() == [1, 3, 2]


def test_no_more_than_the_most_are_kept():
    assert suppress(BOXES, SCORES, np.array([0, 0, 0, 1]), 0.5, 2).tolist() == [1, 3]


def test_nothing_in_gives_nothing_out():
    assert suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), 0.5, 10).tolist() == []


def test_the_overlap_is_intersection_over_union():
    assert np.allclose(overlaps(BOXES[0], BOXES), [1, 0.9, 0, 1])


def test_it_is_the_greedy_choice_within_each_class():
    random = np.random.default_rng(0)
    corner, classes = random.uniform(0, 60, (200, 2)), random.integers(0, 3, 200)
    boxes, scores = np.concatenate([corner, corner + random.uniform(5, 30, (200, 2))], 1), random.random(200)
    kept = []
    for place in np.argsort(-scores):
        same = [other for other in kept if classes[other] == classes[place]]
        if all(overlaps(boxes[place], boxes[other][None])[0] <= 0.4 for other in same):
            kept.append(int(place))
    assert suppress(boxes, scores, classes, 0.4, 200).tolist() == kept
    assert suppress(boxes, scores, classes, 0.4, 20).tolist() == kept[:20]
