"""Gather, scatter, sorting and suppression of the Core ML evaluator against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator import load

RNG = np.random.default_rng(6)
X = RNG.permutation(60).reshape(3, 4, 5).astype(np.float32)
PICKS = np.array([[2, 0], [3, 3]], np.int32)
ALONG = RNG.integers(0, 4, (3, 2, 5)).astype(np.int32)
POINTS = np.array([[0, 1], [2, 3], [0, 1]], np.int32)
ROWS = np.array([2, 0, 2], np.int32)
FACTORS = RNG.uniform(0.5, 2, (3, 4, 5)).astype(np.float32)
BOXES = np.array([[[0, 0, 2, 2], [0.2, 0, 2, 2], [5, 5, 1, 1], [5, 5.1, 1, 1], [9, 9, 1, 1]]], np.float32)
SCORES = np.array([[[0.1, 0.5], [0.6, 0.2], [0.3, 0.9], [0.2, 0.8], [0.05, 0.01]]], np.float32)

MERGES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "update": lambda _, update: update,
}


def scattered(mode):
    """Element by element, in order."""

    def reference(data, rows, updates):
        out = data.copy()
        for index, row in enumerate(rows):
            out[row] = MERGES[mode](out[row], updates[index])
        return out

    return reference


def scattered_along_axis(data, indices, updates):
    out = data.copy()
    for place in np.ndindex(indices.shape):
        out[place[0], indices[place], place[2]] += updates[place]
    return out


def scattered_at_points(data, points, updates):
    out = data.copy()
    for point, update in zip(points, updates, strict=True):
        out[tuple(point)] *= update
    return out


def sorted_places(x, axis):
    return np.argsort(-x, axis, kind="stable")


def top(x, count, axis):
    places = np.take(sorted_places(x, axis), range(count), axis)
    return [np.take_along_axis(x, places, axis), places]


def suppressed(order):
    """Boxes, scores, indices and count for a known selection out of three places."""
    padded = [*order, *[-1] * (3 - len(order))]
    boxes = np.stack([BOXES[0, place] if place >= 0 else np.zeros(4) for place in padded])
    scores = np.stack([SCORES[0, place] if place >= 0 else np.zeros(2) for place in padded])
    return [boxes[None], scores[None], np.array([padded]), np.array([len(order)])]


CASES = {
    "gather": (
        "iOS15",
        {"x": X, "indices": PICKS},
        lambda mb, x, indices: [mb.gather(x=x, indices=indices, axis=1), mb.gather(x=x, indices=-2, axis=0)],
        lambda x, indices: [np.take(x, indices, 1), x[-2]],
    ),
    "gather-batched": (
        "iOS16",
        {"x": X, "indices": np.array([[0, 3], [1, 1], [2, 0]], np.int32)},
        lambda mb, x, indices: mb.gather(x=x, indices=indices, axis=1, batch_dims=1),
        lambda x, indices: np.stack([x[group, indices[group]] for group in range(3)]),
    ),
    "gather_along_axis": (
        "iOS15",
        {"x": X, "indices": ALONG},
        lambda mb, x, indices: mb.gather_along_axis(x=x, indices=indices, axis=1),
        lambda x, indices: np.take_along_axis(x, indices, 1),
    ),
    "gather_nd": (
        "iOS17",
        {"x": X, "indices": POINTS},
        lambda mb, x, indices: [
            mb.gather_nd(x=x, indices=indices),
            mb.gather_nd(x=x, indices=np.array([[[3, 4]], [[0, 1]], [[2, 2]]], np.int32), batch_dims=1),
        ],
        lambda x, indices: [x[indices[:, 0], indices[:, 1]], np.array([[x[0, 3, 4]], [x[1, 0, 1]], [x[2, 2, 2]]])],
    ),
    **{
        f"scatter-{mode}": (
            "iOS15",
            {"data": X, "rows": ROWS if mode != "update" else np.array([2, 0, 1], np.int32), "updates": FACTORS},
            lambda mb, data, rows, updates, mode=mode: mb.scatter(data=data, indices=rows, updates=updates, mode=mode),
            scattered(mode),
        )
        for mode in MERGES
    },
    "scatter-last-axis": (
        "iOS17",
        {"data": X, "rows": np.array([4, 0], np.int32)},
        lambda mb, data, rows: mb.scatter(
            data=data, indices=rows, updates=FACTORS[:, :, :2], axis=-1, mode="update", validate_indices=True
        ),
        lambda data, rows: np.concatenate([FACTORS[:, :, 1:2], data[:, :, 1:4], FACTORS[:, :, :1]], 2),
    ),
    "scatter_along_axis": (
        "iOS17",
        {"data": X, "indices": ALONG, "updates": FACTORS[:, :2]},
        lambda mb, data, indices, updates: mb.scatter_along_axis(
            data=data, indices=indices, updates=updates, axis=1, mode="add"
        ),
        scattered_along_axis,
    ),
    "scatter_nd": (
        "iOS15",
        {"data": X, "points": POINTS, "updates": FACTORS[0, :3]},
        lambda mb, data, points, updates: mb.scatter_nd(data=data, indices=points, updates=updates, mode="mul"),
        scattered_at_points,
    ),
    "argsort": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.argsort(x=x), mb.argsort(x=x, axis=0, ascending=True)],
        lambda x: [sorted_places(x, -1), np.argsort(x, 0)],
    ),
    "topk": (
        "iOS15",
        {"x": X},
        lambda mb, x: [*mb.topk(x=x, k=2, axis=1), *mb.topk(x=x, k=3, ascending=True)],
        lambda x: [*top(x, 2, 1), np.sort(x, -1)[..., :3], np.argsort(x, -1)[..., :3]],
    ),
    "topk-values-only": (
        "iOS17",
        {"x": X},
        lambda mb, x: mb.topk(x=x, k=2, axis=0, return_indices=False),
        lambda x: -np.sort(-x, 0)[:2],
    ),
    "non_maximum_suppression": (
        "iOS15",
        {"boxes": BOXES, "scores": SCORES},
        lambda mb, boxes, scores: mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=0.5, score_threshold=0.1, max_boxes=3
        ),
        lambda boxes, scores: suppressed([2, 1]),
    ),
    "non_maximum_suppression-per-class": (
        "iOS16",
        {"boxes": BOXES, "scores": SCORES},
        lambda mb, boxes, scores: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=0.5,
            score_threshold=0.1,
            max_boxes=3,
            per_class_suppression=True,
        ),
        lambda boxes, scores: suppressed([2, 1, 0]),
    ),
    "non_maximum_suppression-none-left": (
        "iOS16",
        {"boxes": BOXES, "scores": SCORES},
        lambda mb, boxes, scores: mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=0.5, score_threshold=2.0, max_boxes=3
        ),
        lambda boxes, scores: suppressed([2]),
    ),
    "non_maximum_suppression-boxes-last": (
        "iOS17",
        {"boxes": BOXES.transpose(0, 2, 1), "scores": SCORES.transpose(0, 2, 1)},
        lambda mb, boxes, scores: mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=0.5, max_boxes=3
        ),
        lambda boxes, scores: [
            suppressed([2, 1, 4])[0].transpose(0, 2, 1),
            suppressed([2, 1, 4])[1].transpose(0, 2, 1),
            np.array([[2, 1, 4]]),
        ],
    ),
}

INFERRED_WRONGLY = {"scatter_along_axis"}  # coremltools' inference overlooks `mode`

OUT_OF_RANGE = {
    "gather-out-of-range": (
        "iOS17",
        {"x": X, "indices": np.array([0, 3], np.int32)},
        lambda mb, x, indices: mb.gather(x=x, indices=indices, axis=0, name="pick"),
        None,
    ),
    "gather-negative": (
        "iOS17",
        {"x": X, "indices": np.array([-1], np.int32)},
        lambda mb, x, indices: mb.gather(x=x, indices=indices, axis=0, name="pick"),
        None,
    ),
}
CASES.update(OUT_OF_RANGE)


@pytest.mark.parametrize("name", [name for name in CASES if name not in OUT_OF_RANGE])
def test_gathering_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name], against_inference=name not in INFERRED_WRONGLY)


@pytest.mark.parametrize(("name", "index"), [("gather-out-of-range", 3), ("gather-negative", -1)])
def test_index_whose_result_is_undefined_on_a_device_is_an_error(name, index, packages):
    with pytest.raises(ArtifactError) as caught:
        load(packages / f"{name}.mlpackage").run(CASES[name][1])
    assert caught.value.message == (
        f'Operator gather "pick" got index {index}, which is out of range (sizes 3, opset CoreML7): the result on a '
        "device is undefined. Check the model's inputs, and how it computes this index."
    )
