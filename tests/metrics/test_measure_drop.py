import math

import numpy as np
import pytest
import scipy.stats

from edgekit.errors import ConfigError, DataError
from edgekit.metrics.measure_drop import check_metric, measure_drop
from edgekit.registry import METRICS
from edgekit.samples import Samples, SampleWriter

ROWS = 40
CLASSES = 5


def write(folder, arrays, names=None, items=None, targets=None):
    """Writes a sample folder from whole arrays (rows, ...)."""
    names = names or [f"y{i}" for i in range(len(arrays))]
    with SampleWriter(folder, names) as writer:
        for i in range(len(arrays[0])):
            writer.add(tuple(array[i : i + 1] for array in arrays), None if items is None else items[i])
        for target in targets if targets is not None else ():
            writer.add_item(target)
    return Samples.open(folder)


@pytest.fixture
def classes(tmp_path):
    """Float scores, their evaluation data with labels, and a function that writes an artifact's scores."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, ROWS)
    scores = generator.standard_normal((ROWS, CLASSES)).astype(np.float32)
    scores[np.arange(30), labels[:30]] += 10
    evaluation = write(tmp_path / "evaluation", [np.zeros((ROWS, 1), np.float32)], targets=labels)
    reference = write(tmp_path / "reference", [scores])

    def artifact(changed):
        return write(tmp_path / "artifact", [changed])

    return scores, labels, reference, evaluation, artifact


def move_to_another_class(scores, rows):
    changed = scores.copy()
    for row in rows:
        changed[row, (changed[row].argmax() + 1) % CLASSES] = 100
    return changed


def test_top1_counts_what_was_lost_and_won(classes):
    scores, labels, reference, evaluation, artifact = classes
    right = scores.argmax(1) == labels
    lost = np.flatnonzero(right)[:3]
    drop = measure_drop("top1", artifact(move_to_another_class(scores, lost)), reference, evaluation)
    assert drop.value == pytest.approx(100 * 3 / ROWS)
    assert drop.float_value == pytest.approx(100 * right.mean())
    assert drop.artifact_value == pytest.approx(100 * (right.mean() - 3 / ROWS))
    assert drop.low < 0 < drop.value < drop.high
    assert drop.count == ROWS
    assert drop.detail == (
        f"top1 {drop.artifact_value:.2f}, float {drop.float_value:.2f}, on 40 items; 95 % interval of the drop "
        f"{drop.low:.2f} to {drop.high:.2f} pp; the smallest drop that 40 items can show is 10 pp."
    )


def test_equal_outputs_do_not_prove_that_nothing_is_lost(classes):
    scores, _, reference, evaluation, artifact = classes
    drop = measure_drop("top1", artifact(scores), reference, evaluation)
    assert drop.value == 0
    assert drop.high == pytest.approx(100 * 3.8415 / (ROWS + 3.8415), abs=1e-2)


def test_top1_without_a_float_model_has_a_value_and_no_drop(classes):
    scores, labels, _, evaluation, artifact = classes
    drop = measure_drop("top1", artifact(scores), None, evaluation)
    own = 100 * float((scores.argmax(1) == labels).mean())
    assert (drop.value, drop.low, drop.high, drop.float_value) == (None, None, None, None)
    assert drop.artifact_value == pytest.approx(own)
    assert drop.detail == f"top1 {own:.2f} on 40 items; no float model to compare with. Name it with --model."


def test_agreement_compares_the_highest_scores(classes):
    scores, _, reference, evaluation, artifact = classes
    drop = measure_drop("agreement", artifact(move_to_another_class(scores, [0, 1])), reference, evaluation)
    assert drop.value == pytest.approx(5.0)
    assert drop.artifact_value == pytest.approx(95.0)
    expected = scipy.stats.binomtest(2, ROWS).proportion_ci(method="wilson")
    assert (drop.low, drop.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert drop.detail == (
        f"agreement with float 95.00 % on 40 items; 95 % interval of the drop {drop.low:.2f} to {drop.high:.2f} pp; "
        "the smallest drop that 40 items can show is 7.2 pp."
    )


def test_cosine_is_the_mean_over_rows_of_the_worst_output(tmp_path):
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, ROWS, 8)).astype(np.float32)
    evaluation = write(tmp_path / "e", [np.zeros((ROWS, 1))])
    reference = write(tmp_path / "r", [first, second])
    noisy = second + 0.1 * generator.standard_normal((ROWS, 8)).astype(np.float32)
    drop = measure_drop("cosine", write(tmp_path / "a", [first * 3, noisy]), reference, evaluation)
    cosines = np.sum(second * noisy, 1) / np.linalg.norm(second, axis=1) / np.linalg.norm(noisy, axis=1)
    loss = 100 * (1 - cosines)
    expected = scipy.stats.t.interval(0.95, ROWS - 1, loc=loss.mean(), scale=scipy.stats.sem(loss))
    assert drop.value == pytest.approx(loss.mean(), rel=1e-4)
    assert (drop.low, drop.high) == pytest.approx(expected, rel=1e-4)
    assert drop.detail.startswith(f"mean cosine similarity with float {cosines.mean():.5f} on 40 items; 95 % interval")


def test_cosine_of_zero_vectors_is_one_together_and_zero_apart(tmp_path):
    evaluation = write(tmp_path / "e", [np.zeros((2, 1))])
    reference = write(tmp_path / "r", [np.array([[0.0, 0.0], [1.0, 0.0]])])
    drop = measure_drop("cosine", write(tmp_path / "a", [np.zeros((2, 2))]), reference, evaluation)
    assert drop.value == pytest.approx(50.0)


def test_cosine_of_one_row_has_the_whole_range_as_its_interval(tmp_path):
    evaluation = write(tmp_path / "e", [np.zeros((1, 1))])
    reference = write(tmp_path / "r", [np.array([[1.0, 0.0]])])
    drop = measure_drop("cosine", write(tmp_path / "a", [np.array([[1.0, 0.1]])]), reference, evaluation)
    assert (drop.low, drop.high, drop.detectable) == (0.0, 200.0, None)


@pytest.fixture
def pairs(tmp_path):
    generator = np.random.default_rng(0)
    base = generator.standard_normal((30, 6))
    other = base * generator.uniform(0, 1, (30, 1)) + generator.standard_normal((30, 6))
    rows = np.stack([base, other], axis=1).reshape(60, 6)
    cosines = np.sum(base * other, 1) / np.linalg.norm(base, axis=1) / np.linalg.norm(other, axis=1)
    targets = np.round(5 * (cosines + 0.3 * generator.standard_normal(30)))
    items = np.repeat(np.arange(30), 2).tolist()
    evaluation = write(tmp_path / "evaluation", [np.zeros((60, 1))], items=items, targets=targets)
    reference = write(tmp_path / "reference", [rows], items=items)
    return rows, cosines, targets, reference, evaluation


def test_spearman_is_scipys_and_its_interval_holds_the_drop(pairs, tmp_path):
    rows, cosines, targets, reference, evaluation = pairs
    noisy = rows + 0.2 * np.random.default_rng(1).standard_normal(rows.shape)
    drop = measure_drop("spearman", write(tmp_path / "a", [noisy]), reference, evaluation)
    assert drop.float_value == pytest.approx(100 * scipy.stats.spearmanr(cosines, targets).statistic)
    assert drop.value == pytest.approx(drop.float_value - drop.artifact_value)
    assert drop.low < drop.value < drop.high
    assert drop.count == 30
    assert drop.detail.startswith(
        f"spearman {drop.artifact_value:.2f}, float {drop.float_value:.2f}, on 30 pairs; 95 %"
    )


def test_spearman_of_the_same_outputs_loses_exactly_nothing(pairs, tmp_path):
    rows, _, _, reference, evaluation = pairs
    drop = measure_drop("spearman", write(tmp_path / "a", [rows]), reference, evaluation)
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


def test_spearman_of_a_constant_has_no_value_and_fails_a_limit(pairs, tmp_path):
    rows, _, _, reference, evaluation = pairs
    drop = measure_drop("spearman", write(tmp_path / "a", [np.ones_like(rows)]), reference, evaluation)
    assert math.isnan(drop.value)


def user_metric(tmp_path, code):
    (tmp_path / "own.py").write_text(code)
    return "own.py:score"


def test_a_users_metric_gets_outputs_and_targets_and_is_resampled_by_item(classes, tmp_path):
    scores, labels, reference, evaluation, artifact = classes
    metric = user_metric(tmp_path, "def score(outputs, targets):\n    return (outputs.argmax(1) == targets).mean()\n")
    lost = np.flatnonzero(scores.argmax(1) == labels)[:3]
    drop = measure_drop(metric, artifact(move_to_another_class(scores, lost)), reference, evaluation, tmp_path)
    assert drop.value == pytest.approx(7.5)
    assert 0 <= drop.low < 7.5 < drop.high < 25
    assert drop.detail.startswith(f"own.py:score {drop.artifact_value:.2f}, float {drop.float_value:.2f}, on 40 items")


def test_a_users_metric_gets_a_tuple_where_there_are_several_outputs(tmp_path):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))])
    outputs = write(tmp_path / "o", [np.ones((4, 2)), np.full((4, 3), 2.0)])
    metric = user_metric(tmp_path, "def score(outputs, targets):\n    return outputs[1].mean() + (targets is None)\n")
    assert measure_drop(metric, outputs, outputs, evaluation, tmp_path).float_value == 300.0


def test_a_users_metric_gets_all_rows_of_an_item(tmp_path):
    items = [0, 0, 1, 1, 2, 2]
    evaluation = write(tmp_path / "e", [np.zeros((6, 1))], items=items, targets=[1.0, 2.0, 3.0])
    outputs = write(tmp_path / "o", [np.arange(6.0)[:, None]], items=items)
    code = "def score(outputs, targets):\n    return float(len(outputs) == 2 * len(targets))\n"
    drop = measure_drop(user_metric(tmp_path, code), outputs, outputs, evaluation, tmp_path)
    assert drop.float_value == 100.0


def test_a_metric_without_an_interval_cannot_prove_a_kept_limit(classes, tmp_path):
    scores, _, reference, evaluation, artifact = classes
    code = (
        "import numpy as np\n"
        "def score(outputs, targets):\n"
        "    return outputs.mean() if len(np.unique(outputs[:, 0])) == 40 else float('nan')\n"
    )
    drop = measure_drop(user_metric(tmp_path, code), artifact(scores - 0.01), reference, evaluation, tmp_path)
    assert drop.value == pytest.approx(1.0, abs=1e-3)
    assert (drop.low, drop.high, drop.detectable) == (drop.value, math.inf, None)
    assert drop.detail.endswith("on 40 items; no interval can be given.")


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        pytest.param(
            "artifact",
            'The artifact\'s output "y0" is NaN or infinite in 2 of 40 rows (3 of 200 values).',
            id="artifact",
        ),
        pytest.param(
            "reference",
            'The float model\'s output "y0" is NaN or infinite in 2 of 40 rows (3 of 200 values).',
            id="float model",
        ),
    ],
)
def test_outputs_that_are_not_finite_give_no_drop_and_are_counted(classes, tmp_path, who, expected):
    scores, _, reference, evaluation, artifact = classes
    broken = scores.copy()
    broken[0, :2] = np.nan
    broken[7, 1] = np.inf
    if who == "artifact":
        drop = measure_drop("agreement", artifact(broken), reference, evaluation)
    else:
        drop = measure_drop("agreement", artifact(scores), write(tmp_path / "broken", [broken]), evaluation)
    assert math.isnan(drop.value)
    assert drop.detail == expected


def message_of(call, *arguments, error=DataError):
    with pytest.raises(error) as caught:
        call(*arguments)
    return caught.value.message


@pytest.mark.parametrize(
    ("metric", "shape", "hint"),
    [
        pytest.param("agreement", (1,), "a regression's error", id="one value"),
        pytest.param("agreement", (3, 4), "cosine, or another measure", id="a map"),
        pytest.param("top1", (3, 4), "cosine, or another measure", id="top1 of a map"),
    ],
)
def test_outputs_that_are_no_class_scores_are_refused(tmp_path, metric, shape, hint):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))], targets=[0, 0, 0, 0])
    outputs = write(tmp_path / "o", [np.zeros((4, *shape))])
    assert message_of(measure_drop, metric, outputs, outputs, evaluation) == (
        f'The metric {metric} needs class scores, shape (1, classes); output "y0" has shape {(1, *shape)}. '
        f'Set [data] metric to {hint} as "metrics.py:function".'
    )


def test_scores_with_sizes_of_one_are_class_scores(tmp_path):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))])
    outputs = write(tmp_path / "o", [np.random.default_rng(0).standard_normal((4, 5, 1, 1))])
    assert measure_drop("agreement", outputs, outputs, evaluation).value == 0


def test_top1_without_targets_is_refused(tmp_path):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))])
    outputs = write(tmp_path / "o", [np.zeros((4, 5))])
    assert message_of(measure_drop, "top1", outputs, outputs, evaluation) == (
        "The metric top1 needs targets and the evaluation data has none. "
        "Yield (inputs, class index) from [data] evaluation, or use the metric agreement."
    )


@pytest.mark.parametrize(
    ("targets", "described"),
    [
        pytest.param([0.5, 1, 2, 3], "float64 of shape (4,)", id="not whole"),
        pytest.param([[0, 1]] * 4, "int64 of shape (4, 2)", id="two numbers"),
        pytest.param(["a", "b", "c", "d"], "<U1 of shape (4,)", id="names"),
    ],
)
def test_top1_targets_that_are_no_class_index_are_refused(tmp_path, targets, described):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))], targets=targets)
    outputs = write(tmp_path / "o", [np.zeros((4, 5))])
    assert message_of(measure_drop, "top1", outputs, outputs, evaluation) == (
        f"The metric top1 needs one class index for each of 4 rows; the targets are {described}. "
        "Yield a whole number with each input."
    )


@pytest.mark.parametrize(
    ("targets", "span"),
    [pytest.param([1, 2, 3, 5], "1 to 5", id="above"), pytest.param([-1, 0, 1, 2], "-1 to 2", id="below")],
)
def test_classes_that_the_model_does_not_have_are_refused(tmp_path, targets, span):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))], targets=targets)
    outputs = write(tmp_path / "o", [np.zeros((4, 5))])
    assert message_of(measure_drop, "top1", outputs, outputs, evaluation) == (
        f'The targets hold classes {span}; output "y0" has 5 classes, 0 to 4. Use the model\'s own class numbers.'
    )


@pytest.mark.parametrize(
    ("items", "targets", "described"),
    [
        pytest.param([0, 1, 2, 3], [1.0] * 4, "4 items with 1 to 1 rows and targets of shape (4,)", id="single rows"),
        pytest.param([0, 0, 0, 1], [1.0] * 2, "2 items with 1 to 3 rows and targets of shape (2,)", id="uneven"),
        pytest.param([0, 0, 1, 1], None, "2 items with 2 to 2 rows and no targets", id="no targets"),
    ],
)
def test_spearman_without_pairs_is_refused(tmp_path, items, targets, described):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))], items=items, targets=targets)
    outputs = write(tmp_path / "o", [np.zeros((4, 5))], items=items)
    assert message_of(measure_drop, "spearman", outputs, outputs, evaluation) == (
        f"The metric spearman needs items of two rows each and one number for each item; the evaluation data has "
        f"{described}. Yield (inputs of batch 2, similarity) from [data] evaluation."
    )


def test_a_metric_that_nobody_knows_is_refused(classes):
    _, _, reference, evaluation, _ = classes
    assert message_of(measure_drop, "f1", reference, reference, evaluation) == (
        f'"f1" is not a metric: accepted are {", ".join(METRICS)}, or a function of your own as "metrics.py:function".'
    )


def test_a_users_metric_that_is_not_there_is_the_tasks_fault(classes, tmp_path):
    _, _, reference, evaluation, _ = classes
    assert "own.py" in message_of(
        measure_drop, "own.py:score", reference, reference, evaluation, tmp_path, error=ConfigError
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(
            "def score(outputs, targets):\n    raise ValueError('no')\n",
            "The metric own.py:score failed with ValueError: no. It is called with (outputs, targets): "
            "arrays of shape (40, 5) and (40,).",
            id="raises",
        ),
        pytest.param(
            "def score(outputs, targets):\n    return [1, 2]\n",
            "The metric own.py:score returned list; expected one number, larger is better.",
            id="returns a list",
        ),
    ],
)
def test_a_users_metric_that_fails_is_reported_with_what_it_got(classes, tmp_path, code, expected):
    _, _, reference, evaluation, _ = classes
    metric = user_metric(tmp_path, code)
    assert message_of(measure_drop, metric, reference, reference, evaluation, tmp_path) == expected


def test_outputs_of_another_data_set_are_refused(classes, tmp_path):
    _, _, reference, evaluation, _ = classes
    fewer = write(tmp_path / "fewer", [np.zeros((3, 5))])
    assert message_of(measure_drop, "agreement", fewer, reference, evaluation) == (
        f"{tmp_path / 'fewer'} holds 3 rows of outputs and the evaluation data 40. "
        "They must belong together: run again with an empty output folder."
    )


def test_another_number_of_outputs_is_refused(classes, tmp_path):
    scores, _, reference, evaluation, _ = classes
    two = write(tmp_path / "two", [scores, scores])
    assert message_of(measure_drop, "agreement", two, reference, evaluation) == (
        "The artifact has 2 outputs (y0, y1) and the float model 1 (y0). "
        "Compare an artifact with the model it was made from."
    )


def test_outputs_of_another_size_are_refused(classes, tmp_path):
    _, _, reference, evaluation, artifact = classes
    assert message_of(measure_drop, "cosine", artifact(np.zeros((ROWS, 7))), reference, evaluation) == (
        "An output has shape (1, 7) in the artifact and (1, 5) in the float model. "
        "Compare an artifact with the model it was made from."
    )


@pytest.mark.parametrize("metric", ["top1", "agreement", "cosine", "own.py:score"])
def test_a_metric_that_fits_passes_its_check(classes, tmp_path, metric):
    _, _, reference, evaluation, _ = classes
    user_metric(tmp_path, "def score(outputs, targets):\n    return 0.5\n")
    check_metric(metric, reference, evaluation, tmp_path)


def test_a_float_model_that_is_not_finite_fails_the_check(classes, tmp_path):
    _, _, _, evaluation, _ = classes
    broken = write(tmp_path / "broken", [np.full((ROWS, CLASSES), np.nan)])
    assert message_of(check_metric, "cosine", broken, evaluation) == (
        'The float model\'s output "y0" is NaN or infinite in 40 of 40 rows (200 of 200 values). '
        "Check the model and its preprocessing: nothing can be compared with such outputs."
    )


@pytest.mark.parametrize("metric", ["top1", "spearman", "f1"])
def test_a_metric_that_does_not_fit_fails_its_check(tmp_path, metric):
    evaluation = write(tmp_path / "e", [np.zeros((4, 1))])
    outputs = write(tmp_path / "o", [np.zeros((4, 5))])
    with pytest.raises(DataError):
        check_metric(metric, outputs, evaluation)


def integers(rows: int = 40) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 5, (rows, 4, 4))


def test_agreement_on_integer_outputs_is_the_share_of_equal_values(tmp_path) -> None:
    theirs = integers()
    own = theirs.copy()
    own[:, 0, 0] += 1
    evaluation = write(tmp_path / "evaluation", [np.zeros((40, 1), np.float32)])
    drop = measure_drop("agreement", write(tmp_path / "own", [own]), write(tmp_path / "theirs", [theirs]), evaluation)
    assert drop.value == pytest.approx(100 / 16)


def test_top1_of_a_model_that_gives_the_class_itself(tmp_path) -> None:
    answers = np.arange(40).reshape(40, 1) % 5
    evaluation = write(tmp_path / "evaluation", [np.zeros((40, 1), np.float32)], targets=list(answers[:, 0]))
    wrong = answers.copy()
    wrong[:4] += 1
    drop = measure_drop("top1", write(tmp_path / "own", [wrong]), write(tmp_path / "theirs", [answers]), evaluation)
    assert (drop.float_value, drop.artifact_value) == (100, 90)


def test_cosine_of_integer_outputs_is_one_message(tmp_path) -> None:
    theirs = write(tmp_path / "theirs", [integers()])
    evaluation = write(tmp_path / "evaluation", [np.zeros((40, 1), np.float32)])
    with pytest.raises(DataError) as raised:
        measure_drop("cosine", write(tmp_path / "own", [integers()]), theirs, evaluation)
    assert raised.value.message == (
        "The metric cosine compares directions of float outputs; y0 holds integers. "
        'Use the metric "agreement", which compares integer outputs value by value.'
    )


def _of_sizes(folder, lengths, wrong=()):
    """Rows (1, length, 3) whose highest score is class 1, and class 2 at the first place of the rows in `wrong`."""
    with SampleWriter(folder, ["scores"], largest=[(1, max(lengths), 3)]) as writer:
        for row, length in enumerate(lengths):
            scores = np.zeros((1, length, 3), np.float32)
            scores[..., 1] = 1
            scores[0, 0, 2] = 2 * (row in wrong)
            writer.add((scores,), row)
            writer.add_item(1)
    return Samples.open(folder)


def test_rows_of_different_sizes_agree_by_their_own_places_and_not_by_what_fills_them_up(tmp_path):
    reference = _of_sizes(tmp_path / "float", (4, 2, 4))
    outputs = _of_sizes(tmp_path / "own", (4, 2, 4), wrong=(1,))
    drop = measure_drop("agreement", outputs, reference, reference)
    assert drop.value == pytest.approx(100 * (1 - (1 + 0.5 + 1) / 3))
    # cos of ((0, 1, 0), (0, 1, 0)) and ((0, 1, 2), (0, 1, 0)) is 2 / (sqrt(2) sqrt(6)).
    assert measure_drop("cosine", outputs, reference, reference).value == pytest.approx(100 * (1 - 2 / 12**0.5) / 3)


def test_a_metric_that_needs_rows_of_one_size_says_so(tmp_path):
    rows = _of_sizes(tmp_path / "rows", (4, 2))
    with pytest.raises(
        DataError,
        match=r'^The metric top1 compares rows of one size, and the output "scores" differs in size from row to row\. '
        r"Use the metric cosine or agreement, give evaluation data of one size, or omit the check: --without "
        r"accuracy\. Parity is measured at every size\.$",
    ):
        measure_drop("top1", rows, rows, rows)


def test_outputs_of_other_sizes_than_the_float_model_s_are_refused(tmp_path):
    rows, other = _of_sizes(tmp_path / "rows", (4, 2)), _of_sizes(tmp_path / "other", (4, 3))
    with pytest.raises(
        DataError, match=r"have other sizes than the float model's on the same rows\. Compare .*from\.$"
    ):
        measure_drop("cosine", other, rows, rows)


def test_agreement_needs_one_axis_of_classes_for_rows_of_different_sizes(tmp_path):
    for name in ("rows", "own"):
        with SampleWriter(tmp_path / name, ["scores"], largest=[(1, 4)]) as writer:
            for row, length in enumerate((4, 2)):
                writer.add((np.ones((1, length), np.float32),), row)
                writer.add_item(1)
    rows, own = (Samples.open(tmp_path / name) for name in ("rows", "own"))
    with pytest.raises(
        DataError, match=r"^The metric agreement compares the highest .*or omit .*--without accuracy\.$"
    ):
        measure_drop("agreement", own, rows, rows)
    with pytest.raises(DataError, match=r"^The metric macro_f1 looks at all items at once, .*--without accuracy\.$"):
        measure_drop("macro_f1", own, rows, rows)
