"""Changes against a baseline: what compares, what does not, and how often noise is called a regression."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekit.budget import Limit, read_change_limits
from edgekit.checks import Check, judge
from edgekit.gating.baseline import Baseline, FormatRecord
from edgekit.gating.comparison import compare, without_baseline
from edgekit.gating.interleaved_timing import ROUNDS, Pairs, TimedRounds, estimate_ratio
from edgekit.metrics.item_scores import decode_scores, encode_scores


def record(
    *, sha256: str = "new", size: float = 1000, scores: Sequence[float] | None = None, **changes: object
) -> FormatRecord:
    values = np.asarray(scores if scores is not None else [1.0] * 100, np.float64)
    made = FormatRecord(
        runtime="tflite",
        precision="int8-static",
        sha256=sha256,
        ran_by="ai-edge-litert 2.3.0",
        figures=(
            judge("size", size, None),
            judge("accuracy_drop", 1.0, None, low=0.0, high=2.0),
            judge("parity", 30.0, None),
        ),
        accuracy={
            "metric": "top1",
            "value": 100 * float(values.mean()),
            "count": len(values),
            "items": encode_scores(values),
        },
        file=Path("new.tflite"),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # named as its fields


def untimed(new: FormatRecord, old: FormatRecord) -> TimedRounds:
    raise AssertionError((new, old))


def check(limits: str, new: FormatRecord, old: FormatRecord, *, data: str = "data", timing=untimed) -> Check:
    baseline = Baseline(path=Path("b.json"), device="pi4", model={}, data={"evaluation": "data"}, formats=(old,))
    (found,) = compare([new], data, baseline, read_change_limits(limits, "--max-regression"), timing)
    return found


@pytest.mark.parametrize(
    ("size", "verdict"),
    [
        pytest.param(1049, "pass", id="below"),
        pytest.param(1050, "pass", id="on the limit"),
        pytest.param(1051, "fail", id="above"),
        pytest.param(900, "pass", id="smaller"),
    ],
)
def test_size_may_grow_up_to_the_limit(size: float, verdict: str) -> None:
    found = check("size +5 %", record(size=size), record(sha256="old"))
    assert (found.name, found.verdict) == ("size_change", verdict)
    assert found.value == pytest.approx(size / 10 - 100)


def test_the_same_bytes_run_by_the_same_runtime_have_not_changed() -> None:
    for limits in ("latency +1 %", "accuracy -0.1 pp", "memory +1 %"):
        found = check(limits, record(), record())
        assert (found.value, found.verdict) == (0.0, "pass")
        assert found.detail == "The same bytes as the baseline's, run by the same runtime."


def test_the_same_bytes_on_other_data_say_nothing_about_accuracy() -> None:
    found = check("accuracy -0.1 pp", record(), record(), data="other")
    assert found.verdict == "not_run"
    assert found.detail == ("The evaluation data is not the baseline's. Set a new baseline: edgekit baseline set DIR")


def test_a_format_that_the_baseline_does_not_have_is_not_run() -> None:
    found = check("size +5 %", record(), record(runtime="onnx"))
    assert (found.verdict, found.detail) == ("not_run", "The baseline has no tflite int8-static.")


def test_a_format_of_another_precision_is_compared_where_it_is_the_runtimes_only_one() -> None:
    assert check("size +5 %", record(size=4000), record(sha256="old", precision="fp32")).value == pytest.approx(300)


def test_without_a_baseline_every_limit_is_not_run() -> None:
    (found,) = without_baseline(["onnx"], read_change_limits("size +5 %", "x"), "There is none.")
    assert (found.runtime, found.verdict, found.detail) == ("onnx", "not_run", "There is none.")


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [
        pytest.param(0, 0, "inconclusive", id="nothing seen, and too few items to exclude it"),
        pytest.param(1, 0, "inconclusive", id="one item"),
        pytest.param(20, 0, "fail", id="twenty items"),
        pytest.param(20, 20, "inconclusive", id="as many won as lost"),
    ],
)
def test_accuracy_is_compared_item_by_item(lost: int, won: int, verdict: str) -> None:
    old = np.ones(400)
    old[400 - won :] = 0
    new = np.ones(400)
    new[:lost] = 0
    found = check("accuracy -0.5 pp", record(scores=new), record(sha256="old", scores=old))
    assert found.verdict == verdict
    assert found.value == pytest.approx((won - lost) / 4)
    assert f"on 400 items: {lost} lost, {won} won; the smallest loss that 400 items can show is" in found.detail


def test_scores_that_are_no_yes_or_no_are_compared_by_their_mean_difference() -> None:
    generator = np.random.default_rng(0)
    old = generator.uniform(0.9, 1.0, 500)
    found = check("accuracy -0.5 pp", record(scores=old - 0.02), record(sha256="old", scores=old))
    assert found.verdict == "fail"
    assert found.value == pytest.approx(-2, abs=0.01)


def test_a_metric_without_items_is_compared_by_its_bands() -> None:
    accuracy = {"metric": "spearman", "value": 80.0, "count": 100, "items": None}
    old = record(sha256="old", accuracy={**accuracy, "value": 81.0})
    found = check("accuracy -0.5 pp", record(accuracy=accuracy), old)
    assert (found.value, found.verdict) == (-1.0, "inconclusive")
    assert found.detail == "spearman 80.00 now, 81.00 in the baseline, on 100 items; not compared item by item."
    half = np.hypot(1, 1) * 2.5758 / 1.96
    assert found.high == pytest.approx(-1 + half, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        pytest.param({"accuracy": {}}, "This export has no value of the metric.", id="none now"),
        pytest.param(
            {"accuracy": {"metric": "cosine", "value": 99.0}},
            "The metric is cosine; the baseline's was top1.",
            id="another metric",
        ),
    ],
)
def test_accuracy_that_does_not_compare_says_why(changes: dict[str, object], detail: str) -> None:
    found = check("accuracy -0.5 pp", record(**changes), record(sha256="old"))
    assert (found.verdict, found.detail) == ("not_run", detail)


def with_latency(value: float, **more: object) -> FormatRecord:
    figure = judge("latency", value, None, measured_on="pi4", **more)  # type: ignore[arg-type]  # judge's own names
    return record(sha256=str(value), figures=(figure,))


def test_figures_of_the_device_are_compared_with_their_bands() -> None:
    slower = check("latency +10 %", with_latency(25, low=24.8, high=25.2), with_latency(20, low=19.8, high=20.2))
    unsure = check("latency +10 %", with_latency(22, low=20, high=24), with_latency(20, low=19, high=21))
    assert (slower.verdict, unsure.verdict) == ("fail", "inconclusive")
    assert slower.value == pytest.approx(25)
    assert slower.detail == "25 ms now, 20 ms in the baseline."


def test_figures_of_two_devices_do_not_compare() -> None:
    old = with_latency(20)
    other = dataclasses.replace(old.figures[0], measured_on="pi5")
    found = check("latency +10 %", with_latency(25), dataclasses.replace(old, figures=(other,)))
    assert found.verdict == "not_run"
    assert found.detail == ("It is measured (pi4) now and was measured (pi5) in the baseline: they do not compare.")


def test_predictions_are_compared_where_nothing_better_is_there() -> None:
    old = dataclasses.replace(with_latency(20, basis="predicted", low=10, high=40), file=None)
    found = check("latency +10 %", with_latency(25, basis="predicted", low=12, high=50), old)
    assert (found.verdict, found.basis, found.low) == ("fail", "predicted", None)


def test_latency_without_the_old_artifact_is_not_run() -> None:
    found = check("latency +10 %", record(), record(sha256="old", file=None))
    assert found.verdict == "not_run"
    assert found.detail == (
        "Timings of two occasions do not compare, and the baseline's artifact was not kept, so it cannot be timed in "
        "turn with this one. Set the baseline with: edgekit baseline set DIR --keep-artifacts"
    )


def test_the_95th_percentile_is_not_compared_on_a_host() -> None:
    found = check("latency_p95 +10 %", record(), record(sha256="old"))
    assert found.detail == (
        "Neither export has the device's figure, and on this machine only the median is compared: limit the regression "
        "of latency."
    )


def test_a_runtime_whose_timings_mean_nothing_says_so() -> None:
    found = check(
        "latency +10 %", record(), record(sha256="old"), timing=lambda *_: TimedRounds(missing="An evaluator ran it.")
    )
    assert (found.verdict, found.detail) == ("not_run", "An evaluator ran it.")


@pytest.mark.parametrize("kind", ["bits", "float32"])
def test_scores_survive_their_json(kind: str) -> None:
    generator = np.random.default_rng(1)
    scores = generator.integers(0, 2, 77).astype(float) if kind == "bits" else generator.random(77)
    encoded = encode_scores(scores)
    assert encoded is not None
    assert encoded["kind"] == kind
    np.testing.assert_allclose(decode_scores(encoded), scores, rtol=1e-6)


def test_too_many_scores_that_are_no_bits_are_left_out() -> None:
    assert encode_scores(np.linspace(0, 1, 20_001)) is None


def noisy_rounds(generator: np.random.Generator, change: float) -> tuple[Pairs, ...]:
    """Timings as a shared CI machine gives them.

    Every process has its own luck of 3 % (memory layout, heap), the machine's speed wanders over a round, one timing in
    fifty is hit by another tenant for up to five times its length, and a clock step of 1 us rounds all.
    """
    rounds = []
    for _ in range(ROUNDS):
        luck = np.exp(0.03 * generator.standard_normal(2))
        speed = np.exp(np.cumsum(0.02 * generator.standard_normal(40)))
        jitter = np.exp(0.05 * generator.standard_normal((40, 2)))
        hit = np.where(generator.random((40, 2)) < 0.02, generator.uniform(1, 5, (40, 2)), 1.0)
        times = np.round(5.0 * luck * speed[:, None] * jitter * hit * (1 + change, 1.0), 3)
        rounds.append(tuple(map(tuple, times)))
    return tuple(rounds)


def verdicts(change: float, limit: str, trials: int) -> list[str]:
    generator = np.random.default_rng(7)
    old, new = record(sha256="old"), record()
    return [
        check(limit, new, old, timing=lambda *_: TimedRounds(rounds=noisy_rounds(generator, change), host="CI")).verdict
        for _ in range(trials)
    ]


@pytest.mark.parametrize("change", [0.0, 0.05, 0.10], ids=["no change", "half the limit", "exactly the limit"])
def test_noise_is_called_a_regression_of_latency_in_less_than_one_gate_in_a_hundred(change: float) -> None:
    found = verdicts(change, "latency +10 %", 2000)
    assert found.count("fail") / len(found) <= 0.01


def test_a_real_regression_of_latency_is_found_in_spite_of_the_noise() -> None:
    found = verdicts(0.25, "latency +10 %", 300)
    assert found.count("fail") / len(found) >= 0.95


def test_a_change_near_the_limit_is_inconclusive_and_not_a_pass() -> None:
    found = verdicts(0.10, "latency +10 %", 300)
    assert found.count("inconclusive") / len(found) >= 0.95


def test_fewer_rounds_than_the_confidence_needs_prove_nothing() -> None:
    estimate = estimate_ratio([[(2.0, 1.0)]] * (ROUNDS - 1))
    assert (estimate.ratio, estimate.low, estimate.high) == (2.0, -np.inf, np.inf)


@pytest.mark.parametrize("loss", [0.0, 0.005], ids=["no loss", "exactly the limit"])
def test_chance_is_called_a_loss_of_accuracy_in_less_than_one_gate_in_a_hundred(loss: float) -> None:
    generator = np.random.default_rng(3)
    trials, failures = 1000, 0
    for _ in range(trials):
        # Of 500 items some are lost and some are won, by chance alike, but for the true loss.
        fate = generator.choice(3, 500, p=[0.03 + loss, 0.03, 0.94 - loss])
        old, new = np.where(fate == 1, 0.0, 1.0), np.where(fate == 0, 0.0, 1.0)
        found = check("accuracy -0.5 pp", record(scores=new), record(sha256="old", scores=old))
        failures += found.verdict == "fail"
    assert failures / trials <= 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "size 5 %",
            '--max-regression: size "5 %" must begin with "+": it says by how much size may grow from the baseline, '
            'such as "+1 %".',
            id="no sign",
        ),
        pytest.param(
            "accuracy +0.5 pp",
            '--max-regression: accuracy "+0.5 pp" must begin with "-": it says by how much accuracy may fall from the '
            'baseline, such as "-1 pp".',
            id="the better way",
        ),
        pytest.param(
            "size +5 kB", '--max-regression: size "+5 kB" has the unit "kB": accepted are "+1 %".', id="another unit"
        ),
        pytest.param("size +5", '--max-regression: size "+5" has no unit: write it as "+1 %".', id="no unit"),
        pytest.param(
            "colour +5 %",
            '--max-regression: "colour" has no limit on regression: accepted are size, download, memory, latency, '
            'latency_p95, accuracy, slice_drop, parity, such as "size +5 %" or "accuracy -0.5 pp".',
            id="unknown figure",
        ),
        pytest.param(
            "size",
            '--max-regression: "size" is not a figure and how far it may move: write it as "size +5 %" or '
            '"latency +10 %, accuracy -0.5 pp".',
            id="no quantity",
        ),
    ],
)
def test_a_limit_that_cannot_be_read_gets_one_message(text: str, message: str) -> None:
    from edgekit.errors import InputError

    with pytest.raises(InputError) as caught:
        read_change_limits(text, "--max-regression")
    assert caught.value.message == message


def test_several_limits_stand_in_one_text_and_a_minus_sign_may_be_typeset() -> None:
    limits = read_change_limits("size +5 %, accuracy \N{MINUS SIGN}0.5 pp", "x")
    assert limits == (
        Limit(name="size_change", value=5.0, source="x"),
        Limit(name="accuracy_change", value=-0.5, source="x"),
    )
