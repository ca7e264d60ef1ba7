"""PicoDet and GFL."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.heads.gfl import Gfl
from edgekit.heads.picodet import PicoDet

SIZE = (64, 96)


def published_boxes(distances, strides, bins, offset):
    """Distances (cells, 4 x bins) to boxes: PaddleDetection's GFL head and mmdetection's, one cell after another."""
    boxes, index = [], 0
    for stride in strides:
        for y in range(-(-64 // stride)):
            for x in range(-(-96 // stride)):
                raised = np.exp(distances[index].reshape(4, bins))
                far = (raised / raised.sum(1, keepdims=True)) @ np.arange(bins) * stride
                cx, cy = (x + offset) * stride, (y + offset) * stride
                boxes.append([cx - far[0], cy - far[1], cx + far[2], cy + far[3]])
                index += 1
    return np.array(boxes)


@pytest.mark.parametrize(
    ("decoder", "strides", "bins", "offset"),
    [
        (PicoDet(), (8, 16, 32, 64), 8, 0.5),
        (Gfl(), (8, 16, 32, 64, 128), 17, 0.0),
        (Gfl(bins=8, strides="8,16,32"), (8, 16, 32), 8, 0.0),
    ],
    ids=["picodet", "gfl", "nanodet"],
)
@pytest.mark.parametrize("form", ["together", "levels", "one output"])
def test_boxes_decode_as_published(generator, decoder, strides, bins, offset, form):
    counts = [-(-64 // s) * -(-96 // s) for s in strides]
    scores = generator.standard_normal((sum(counts), 3))
    distances = generator.standard_normal((sum(counts), 4 * bins))
    ends = np.cumsum(counts)[:-1]
    outputs = {
        "together": (scores, distances),
        "levels": (*np.split(scores, ends), *np.split(distances, ends)),
        "one output": (np.concatenate([scores, distances], 1),),
    }[form]
    assert decoder.why_not(tuple(array.shape for array in outputs), SIZE) is None
    found = decoder.predict(outputs, SIZE)
    assert np.abs(found.boxes - published_boxes(distances, strides, bins, offset)).max() < 1e-3
    assert np.allclose(found.scores, 1 / (1 + np.exp(-scores)) if decoder.logits else scores)


def test_other_shapes_are_refused_with_what_was_expected():
    assert PicoDet().why_not(((5, 5),), SIZE) == (
        "they have the shapes (5, 5); expected scores and 32 distances of [96, 24, 6, 2] cells"
    )


def test_rapid_layout_decodes_picodet_the_same(generator):
    module = pytest.importorskip("rapid_layout.model_handler.pp.post_process", exc_type=ImportError)
    counts = [96, 24, 6, 2]
    # Few scores count: the package looks at the best 200 alone.
    scores = [np.where(generator.random((n, 3)) < 0.1, generator.random((n, 3)), 0.0) for n in counts]
    distances = [3 * generator.standard_normal((n, 32)) for n in counts]
    decode = module.PPPostProcess(labels=["0", "1", "2"], conf_thres=0.4, iou_thres=1.0)
    picture = np.zeros((1, 3, *SIZE), np.float32)
    boxes, found_scores, labels = decode(SIZE, picture, [part[None] for part in (*scores, *distances)])
    wanted = sorted(zip(found_scores, map(int, labels), map(tuple, boxes), strict=True), reverse=True)
    decoder = PicoDet(score=0.4, iou=1.0)
    found = decoder.decode((*scores, *distances), SIZE)
    assert len(wanted) > 5
    assert np.allclose(found.scores, [item[0] for item in wanted])
    assert found.classes.tolist() == [item[1] for item in wanted]
    clipped = np.clip(found.boxes, 0, [96, 64, 96, 64])
    assert np.abs(clipped - np.array([item[2] for item in wanted])).max() < 1e-3
