"""Metrics compared with the libraries of the field on the same data."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.metrics.metric_data import MetricData
from edgekit.metrics.table import find_metric

GENERATOR = np.random.default_rng(0)
ROWS = 60


def value(metric, outputs, targets, names=("scores",)):
    """The artifact's own value, 100 for all of it."""
    data = MetricData(
        outputs=outputs, reference=None, names=names, targets=targets, item_of_row=np.arange(len(outputs[0])),
        items=len(outputs[0]),
    )  # fmt: skip
    return find_metric(metric).measure(data).artifact_value


def test_macro_f1_is_scikit_learn_s():
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, labels = GENERATOR.standard_normal((ROWS, 4)), GENERATOR.integers(0, 3, ROWS)
    expected = sklearn.f1_score(labels, scores.argmax(1), labels=np.unique(labels), average="macro")
    assert value("macro_f1", (scores,), labels) == pytest.approx(100 * expected)


def test_top5_is_scikit_learn_s():
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, labels = GENERATOR.standard_normal((ROWS, 12)), GENERATOR.integers(0, 12, ROWS)
    expected = sklearn.top_k_accuracy_score(labels, scores, k=5, labels=np.arange(12))
    assert value("top5", (scores,), labels) == pytest.approx(100 * expected)


def test_regressions_are_scikit_learn_s():
    sklearn = pytest.importorskip("sklearn.metrics")
    targets = GENERATOR.standard_normal((ROWS, 1))
    outputs = targets + 0.3 * GENERATOR.standard_normal((ROWS, 1))
    assert value("r2", (outputs,), targets) == pytest.approx(100 * sklearn.r2_score(targets, outputs))
    spread = targets.std()
    mae = sklearn.mean_absolute_error(targets, outputs)
    assert value("mae", (outputs,), targets) == pytest.approx(100 * (1 - mae / spread))
    rmse = sklearn.root_mean_squared_error(targets, outputs)
    assert value("rmse", (outputs,), targets) == pytest.approx(100 * (1 - rmse / spread))


def test_auroc_is_scikit_learn_s_with_ties():
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, targets = GENERATOR.integers(0, 9, (ROWS, 1)).astype(np.float32), GENERATOR.integers(0, 2, ROWS)
    assert value("auroc", (scores,), targets) == pytest.approx(100 * sklearn.roc_auc_score(targets, scores))


def test_miou_is_scikit_learn_s_jaccard_index():
    sklearn = pytest.importorskip("sklearn.metrics")
    masks = GENERATOR.integers(0, 4, (ROWS, 5, 6))
    masks[:, 0] = 255
    scores = GENERATOR.standard_normal((ROWS, 4, 5, 6))
    kept = masks != 255
    expected = sklearn.jaccard_score(masks[kept], scores.argmax(1)[kept], average="macro")
    assert value("miou", (scores,), masks) == pytest.approx(100 * expected)
    assert value("miou", (scores.transpose(0, 2, 3, 1),), masks) == pytest.approx(100 * expected)
    assert value("miou", (scores.argmax(1),), masks) == pytest.approx(100 * expected)


def test_psnr_and_ssim_are_scikit_image_s():
    library = pytest.importorskip("skimage.metrics")
    targets = GENERATOR.uniform(0, 255, (4, 3, 20, 24))
    outputs = targets + 10 * GENERATOR.standard_normal(targets.shape)
    ratios = [library.peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(targets, outputs, strict=True)]
    assert value("psnr", (outputs,), targets) == pytest.approx(np.mean(ratios))
    similar = [
        library.structural_similarity(a, b, data_range=255, channel_axis=0)
        for a, b in zip(targets, outputs, strict=True)
    ]
    assert value("ssim", (outputs,), targets) == pytest.approx(100 * np.mean(similar))


def spelled(texts, alphabet, steps):
    """One-hot scores (rows, steps, classes) with blanks between letters, the blank first."""
    scores = np.zeros((len(texts), steps, len(alphabet) + 1), np.float32)
    for row, text in enumerate(texts):
        numbers = [number for letter in text for number in (alphabet.index(letter) + 1, 0)]
        scores[row, np.arange(steps), (numbers + [0] * steps)[:steps]] = 1
    return scores


def test_cer_and_wer_are_jiwer_s():
    jiwer = pytest.importorskip("jiwer")
    wanted = ["the cat sat", "a dog", "on the mat", "bee"]
    found = ["the bat sat", "a dog on", "on mat", "be"]
    alphabet = "abdcehgtonms "
    scores = spelled(found, alphabet, 30)
    texts = np.array(wanted)
    assert value(f"cer(alphabet='{alphabet}')", (scores,), texts) == pytest.approx(100 * (1 - jiwer.cer(wanted, found)))
    assert value(f"wer(alphabet='{alphabet}')", (scores,), texts) == pytest.approx(100 * (1 - jiwer.wer(wanted, found)))


def test_depth_errors_are_those_of_the_formula_where_depth_is_known():
    targets = GENERATOR.uniform(1, 9, (ROWS, 1, 4, 5))
    targets[:, 0, 0, 0] = 0
    outputs = targets * GENERATOR.uniform(0.7, 1.5, targets.shape)
    known = targets > 0
    relative = [np.mean((abs(o - t) / np.where(k, t, 1))[k]) for o, t, k in zip(outputs, targets, known, strict=True)]
    assert value("abs_rel", (outputs,), targets) == pytest.approx(100 * (1 - np.mean(relative)))
    ratio = np.maximum(outputs / np.where(known, targets, 1), targets / np.where(known, outputs, 1))
    within = [np.mean((r < 1.25)[k]) for r, k in zip(ratio, known, strict=True)]
    assert value("delta1", (outputs,), targets) == pytest.approx(100 * np.mean(within))


@pytest.mark.parametrize(("align", "scale", "shift"), [("median", 3.0, 0.0), ("affine", 3.0, -2.0)])
def test_aligned_depth_does_not_mind_its_scale(align, scale, shift):
    targets = GENERATOR.uniform(1, 9, (ROWS, 4, 5))
    assert value(f"abs_rel(align='{align}')", (scale * targets + shift,), targets) == pytest.approx(100)


def test_recall_at_k_looks_at_the_k_most_similar_others():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [0, 1]], np.float32)
    labels = np.array([0, 1, 0, 1])
    assert value("recall_at_k", (embeddings,), labels) == pytest.approx(
        0
    )  # 0 and 1 find each other, 2 finds 1, 3 finds 2
    assert value("recall_at_k(k=2)", (embeddings,), labels) == pytest.approx(75)  # 1 finds 0 and 2
    assert value("recall_at_k(k=3)", (embeddings,), labels) == pytest.approx(100)


def test_pck_counts_visible_points_within_a_share_of_the_box():
    maps = np.zeros((1, 3, 16, 16), np.float32)
    maps[0, 0, 4, 4] = maps[0, 1, 8, 12] = maps[0, 2, 1, 1] = 1
    pose = [0, 0, 64, 64, 0, 16, 16, 2, 48, 64, 2, 60, 60, 0]  # the third point is not visible
    data = MetricData(
        outputs=(maps,), reference=None, names=("maps",), targets=np.array([[pose]], np.float64),
        item_of_row=np.arange(1), items=1, input_shapes=((1, 3, 64, 64),),
    )  # fmt: skip
    assert find_metric("pck").measure(data).artifact_value == pytest.approx(50)
    assert find_metric("pck(within=0.6)").measure(data).artifact_value == pytest.approx(100)
