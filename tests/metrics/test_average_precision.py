"""Average precision compared with pycocotools' own accumulation, also for resampled pictures."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest

from edgekit.metrics.average_precision import Matches, Ranking

pytest.importorskip("pycocotools")

from edgekit.metrics.boxes import box_annotations
from edgekit.metrics.coco_matching import _dataset, match

SIZE = (640, 640)


def random_pictures(count, seed, *, classes=5, distinct=False):
    """Objects, some of them crowds, and detections near them and elsewhere; scores with two digits tie often."""
    generator = np.random.default_rng(seed)
    tables, detections = [], []
    for _ in range(count):
        corners = generator.uniform(0, 400, (generator.integers(0, 8), 2))
        boxes = np.concatenate([corners, corners + generator.uniform(10, 200, corners.shape)], 1)
        numbers = generator.integers(0, classes, len(boxes))
        tables.append(np.column_stack([boxes, numbers, generator.random(len(boxes)) < 0.1]))
        found = [(box + generator.normal(0, 8, 4), number) for box, number in zip(boxes, numbers, strict=True)]
        others = generator.uniform(0, 400, (generator.integers(0, 12), 2))
        found += [(np.concatenate([one, one + 80]), generator.integers(0, classes)) for one in others]
        detections.append([detection(box, number, generator.random(), distinct) for box, number in found])
    return box_annotations(tables), detections


def detection(box, number, score, distinct):
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    return {
        "category_id": int(number),
        "bbox": [float(box[0]), float(box[1]), width, height],
        "area": width * height,
        "score": float(score if distinct else round(score, 2)),
    }


def library_figures(objects, detections):
    """COCO's mAP over overlaps 0.5 to 0.95, and at 0.5."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_dataset("map", objects, SIZE), _dataset("map", detections, SIZE), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_equals_the_library_s(seed):
    objects, detections = random_pictures(150, seed)
    both = library_figures(objects, detections)
    everything = np.arange(150)
    assert Ranking(match("map", "bbox", objects, detections, size=SIZE)).figure(everything) == pytest.approx(
        both[0], abs=1e-9
    )
    at_half = match("map50", "bbox", objects, detections, size=SIZE, overlaps=np.array([0.5]))
    assert Ranking(at_half).figure(everything) == pytest.approx(both[1], abs=1e-9)


def test_a_resample_equals_the_library_s_figure_of_copied_pictures():
    objects, detections = random_pictures(60, 3, distinct=True)
    ranking = Ranking(match("map", "bbox", objects, detections, size=SIZE))
    chosen = np.random.default_rng(0).integers(0, 60, 60)
    copied = library_figures([objects[i] for i in chosen], [detections[i] for i in chosen])
    assert ranking.figure(chosen) == pytest.approx(copied[0], abs=1e-9)


def test_without_objects_it_is_not_a_number():
    matches = match("map", "bbox", [[], []], [[], []], size=SIZE)
    assert math.isnan(Ranking(matches).figure(np.arange(2)))


def test_objects_that_nobody_finds_are_zero():
    objects, _ = random_pictures(10, 0)
    assert Ranking(match("map", "bbox", objects, [[]] * 10, size=SIZE)).figure(np.arange(10)) == 0


def test_two_hits_and_a_miss_between_them_have_the_area_by_hand():
    matches = Matches(
        items=np.zeros(3, np.int64),
        classes=np.zeros(3, np.int64),
        scores=np.array([0.9, 0.8, 0.7]),
        hits=np.array([[True, False, True]]),
        ignored=np.zeros((1, 3), np.bool_),
        objects=np.array([[2]]),
    )
    # Recalls 0 to 0.5 (51 points) have precision 1, the other 50 have 2/3.
    assert Ranking(matches).figure(np.zeros(1, np.int64)) == pytest.approx((51 + 50 * 2 / 3) / 101)
