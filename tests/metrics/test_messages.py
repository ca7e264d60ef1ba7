"""What the metrics say about data that does not fit them, each message to its end."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgekit.errors import DataError, MissingDependencyError
from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.table import find_metric, stand_in


def message(metric, outputs, targets, *, items=None, input_shapes=((1, 3, 64, 64),)):
    rows = len(outputs[0])
    data = MetricData(
        outputs=outputs, reference=None, names=tuple(f"y{i}" for i in range(len(outputs))), targets=targets,
        item_of_row=np.arange(rows) if items is None else np.arange(rows) // 2, items=items or rows,
        input_shapes=input_shapes,
    )  # fmt: skip
    with pytest.raises(DataError) as caught:
        find_metric(metric).measure(data)
    return caught.value.message


ONES = np.ones((4, 3))
FINISHED = np.zeros((4, 5, 6))
CASES = {
    "no targets": (
        "mae", (ONES,), None,
        ("The metric mae needs targets and the evaluation data has none. Yield (inputs, number, or an array like the "
        "output) from [data] evaluation, or use the metric agreement."),
    ),
    "another shape": (
        "mae", (ONES,), np.ones((4, 2)),
        ('The metric mae needs one number for each value of the output "y0", shape (1, 3); the targets are float64 of '
        "shape (1, 2)."),
    ),
    "no spread": (
        "rmse", (ONES,), np.full((4, 3), 2.0),
        ("The metric rmse measures errors in units of the targets' spread, and all targets are 2. Give evaluation data "
        "whose targets differ."),
    ),
    "no anomaly": (
        "auroc", (ONES,), np.zeros(4),
        ("The metric auroc needs 0 (normal) or 1 (anomalous) with each item, and some of both; the targets are float64 "
        "of shape (4,), from 0.0 to 0.0."),
    ),
    "all labels differ": (
        "recall_at_k", (ONES,), np.arange(4),
        ("The metric recall_at_k looks for items of the same label, and all 4 labels differ. Give at least two items "
        "of a label."),
    ),
    "a small picture": (
        "ssim", (np.ones((4, 3, 6, 5)),), np.ones((4, 3, 6, 5)),
        'The metric ssim compares windows of 7 x 7 pixels; the output "y0" is 5 x 6. Use the metric psnr.',
    ),
    "no depth": (
        "abs_rel", (ONES,), np.zeros((4, 3)),
        "The metric abs_rel needs depths above 0; the target of item 0 has none. Leave the item out.",
    ),
    "no mask": (
        "miou", (np.ones((4, 2, 5, 5)),), np.ones(4, np.int64),
        "The metric miou needs a mask of class numbers (H, W) with each item; the targets are int64 of shape (1,).",
    ),
    "no class scores of pixels": (
        "miou", (np.ones((4, 2, 5, 5, 6)),), np.ones((4, 5, 5), np.int64),
        ('The metric miou needs class scores (1, C, H, W) or (1, H, W, C), or class numbers (1, H, W); output "y0" has '
        "shape (1, 2, 5, 5, 6)."),
    ),
    "no boxes": (
        "map(decoder='yolo26')", (FINISHED,), np.zeros(4),
        ("The metric map needs a table of boxes with each item, columns x1, y1, x2, y2 (pixels of the model's input) "
        "and class; the targets are float64 of shape (1,)."),
    ),
    "a box of sizes": (
        "map(decoder='yolo26')", (FINISHED,), np.array([[[40.0, 40, 8, 9, 1]]] * 4),
        ("The target of item 0 holds the box 40, 40, 8, 9, 1; the metric map needs x1 < x2, y1 < y2 and a class number "
        "from 0. Give corners, not sizes, and the model's own class numbers."),
    ),
    "no points in the targets": (
        "oks_map(decoder='yolo26')", (FINISHED,), np.array([[[1.0, 2, 8, 9, 1]]] * 4),
        ("The metric oks_map needs tables of x1, y1, x2, y2, class, then x, y and visible (0, 1 or 2) of each point; "
        "the targets have 5 columns."),
    ),
    "no points in the outputs": (
        "oks_map(decoder='yolo26')", (FINISHED,), np.array([[[1.0, 2, 8, 9, 1, 3, 4, 2]]] * 4),
        ("The metric oks_map needs points, and the decoder finds none in these outputs. Say how many a pose has, "
        "[head] keypoints = 17, or use the metric map."),
    ),
    "other points": (
        "oks_map(decoder='yolo26', keypoints=2)", (np.ones((4, 5, 12)),), np.array([[[1.0, 2, 8, 9, 1, 3, 4, 2]]] * 4),
        ("The metric oks_map: the targets have 1 points and the model finds 2. Give the points of the model, in its "
        "order."),
    ),
    "other sigmas": (
        "oks_map(decoder='yolo26', keypoints=1, sigmas='0.1,0.2')", (np.ones((4, 5, 9)),),
        np.array([[[1.0, 2, 8, 9, 1, 3, 4, 2]]] * 4),
        "The metric oks_map: sigmas has 2 numbers and a pose 1 points. Give one a point.",
    ),
    "masks that are no text": (
        "mask_map(decoder='yolo26')", (FINISHED,), np.zeros((4, 2, 2)),
        ("The metric mask_map needs the masks of each item as text; the targets are float64 of shape (1, 2, 2). Yield "
        "(inputs, encode_instances(masks, classes) of edgekit.task.instance_masks)."),
    ),
    "no masks in the outputs": (
        "mask_map(decoder='yolo26')", (FINISHED,), np.array(["[]"] * 4),
        ("The metric mask_map needs masks, and the decoder finds none in these outputs. Give the model's mask "
        "prototypes as an output, or use the metric map."),
    ),
    "an alphabet of another model": (
        "cer(alphabet='ab')", (np.ones((4, 6, 5)),), np.array(["a"] * 4),
        ('The metric cer: the alphabet has 2 characters, with the blank 3 classes; output "y0" has 5. Give the '
        "alphabet of the model."),
    ),
    "no text in the outputs": (
        "cer", (ONES,), np.array(["a"] * 4),
        ('The metric cer needs scores (1, steps, classes) or class numbers (1, steps); output "y0" is float64 of shape '
        "(1, 3)."),
    ),
    "no text in the targets": (
        "cer", (np.ones((4, 6, 5)),), np.ones((4, 2)),
        "The metric cer needs text with each item, or its class numbers; the targets are float64 of shape (1, 2).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_data_that_does_not_fit_is_reported(case):
    metric, outputs, targets, expected = case
    assert message(metric, outputs, targets) == expected


def test_items_of_several_rows_are_reported():
    assert message("mae", (ONES,), np.ones(2), items=2) == (
        "The metric mae needs one target for each row; the evaluation data has 4 rows, 2 items and targets of shape "
        "(2,). Yield (inputs, number, or an array like the output) for every input."
    )


SETTINGS = {
    "recall_at_k(k=0)": "The metric recall_at_k: k is 0; expected a whole number above 0.",
    "recall_at_k(n=1)": 'The metric recall_at_k has no setting "n": accepted are k.',
    "recall_at_k(k='a')": "The metric recall_at_k: k is 'a'; expected a whole number.",
    "top1(k=1)": 'The metric top1 has no setting "k": it has none.',
    "delta1(align='max')": 'The metric delta1: align is "max"; accepted are none, median, affine.',
    "wer(alphabet='ab')": (
        'The metric wer: the alphabet is "ab"; expected the characters of the classes, with the space that separates '
        "words. Without one, use the metric cer."
    ),
    "map(decoder='yolo99')": "[head] decoder is",
    "agreement_of(metric='top1')": (
        'The metric agreement_of needs the name of a metric that has decisions; "top1" has none. Use "agreement" for '
        'class scores and "cosine" for other outputs.'
    ),
}


@pytest.mark.parametrize("text", SETTINGS)
def test_wrong_settings_are_reported_before_any_work(text):
    with pytest.raises(DataError) as caught:
        find_metric(text)
    assert caught.value.message.startswith(SETTINGS[text])
    assert caught.value.message.endswith(SETTINGS[text][-20:]) or text.startswith("map")


@pytest.mark.parametrize(
    ("metric", "module", "distribution"),
    [
        ("psnr", "skimage.metrics", "scikit-image"),
        ("cer", "jiwer", "jiwer"),
        ("map", "pycocotools.cocoeval", "pycocotools"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch, metric, module, distribution):
    monkeypatch.setitem(sys.modules, module, None)
    data = {
        "psnr": (np.ones((4, 3, 8, 8)), np.ones((4, 3, 8, 8))),
        "cer": (np.ones((4, 6, 5)), np.ones((4, 2), np.int64)),
        "map": (FINISHED, np.array([[[1.0, 2, 8, 9, 1]]] * 4)),
    }[metric]
    with pytest.raises(MissingDependencyError) as caught:
        find_metric(metric if metric != "map" else "map(decoder='yolo26')").check(
            MetricData(
                outputs=data[:1], reference=None, names=("y",), targets=data[1], item_of_row=np.arange(4), items=4,
                input_shapes=((1, 3, 64, 64),),
            )
        )  # fmt: skip
    assert caught.value.message == (
        f"The metric {metric} needs {distribution}, which is not installed. Install it from the checkout: "
        "pip install -e '.[metrics]'"
    )


def test_the_stand_in_keeps_the_settings():
    assert stand_in("map(decoder='yolov8', classes=3)") == "agreement_of(metric='map', decoder='yolov8', classes=3)"
    assert stand_in("top5") == "agreement"
    assert stand_in("agreement") == "agreement"
