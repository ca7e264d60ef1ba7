from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekit.budget import Budget, Limit
from edgekit.checks import Check
from edgekit.intervals import paired_difference_interval
from edgekit.metrics.slices import Slices, measure_slices
from edgekit.samples import Samples, SampleWriter
from edgekit.validators.base import Evidence
from edgekit.validators.slices import SliceValidator, describe_slices

Measure = Callable[..., Slices | None]


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Samples]:
    numbers = itertools.count()

    def write(array: np.ndarray, targets: Sequence[int] | None = None, slices: Sequence[str] | None = None) -> Samples:
        folder = tmp_path / str(next(numbers))
        with SampleWriter(folder, ["y"]) as writer:
            for i in range(len(array)):
                writer.add((array[i : i + 1],))
                writer.add_item(None if targets is None else targets[i], None if slices is None else slices[i])
        return Samples.open(folder)

    return write


def scores(classes: np.ndarray) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[classes]


@pytest.fixture
def measure(folder_of: Callable[..., Samples]) -> Measure:
    """Returns a function: labels, which items the artifact gets wrong (the float model none), slice names -> slices."""

    def run(
        labels: np.ndarray, wrong: np.ndarray, slices: Sequence[str] | None = None, metric: str = "top1"
    ) -> Slices | None:
        outputs = scores(np.where(wrong, (labels + 1) % 4, labels))
        evaluation = folder_of(outputs * 0, None if metric == "cosine" else labels, slices)
        return measure_slices(metric, folder_of(outputs), folder_of(scores(labels)), evaluation)

    return run


def test_the_worst_slice_is_found_behind_a_good_mean(measure: Measure) -> None:
    labels = np.arange(400) % 4
    names = ["night" if i < 40 else "day" for i in range(400)]
    found = measure(labels, np.arange(400) < 20, names)
    assert found is not None
    assert found.worst is not None
    assert (found.worst.name, found.worst.drop.value, found.worst.drop.count) == ("night", 50.0, 40)
    assert found.sentence == (
        "Worst of 2 slices: night 50.00 pp on 40 items, day 0.00 pp on 360 items; the smallest drop that 40 items can "
        "show is 15 pp."
    )


def test_without_names_the_classes_are_the_slices(measure: Measure) -> None:
    labels = np.arange(400) % 4
    found = measure(labels, (labels == 2) & (np.arange(400) < 80))
    assert found is not None
    assert [part.name for part in found.judged] == ["class 0", "class 1", "class 2", "class 3"]
    assert found.worst is not None
    assert (found.worst.name, found.worst.drop.value) == ("class 2", 20.0)


@pytest.mark.parametrize(
    ("small", "pooled"),
    [pytest.param(6, False, id="too few together"), pytest.param(7, True, id="enough together")],
)
def test_small_slices_are_judged_together_or_named(measure: Measure, small: int, pooled: bool) -> None:
    names = ["a"] * 100 + ["b"] * small + ["c"] * small + ["d"] * small
    count = len(names)
    found = measure(np.zeros(count, int), np.arange(count) >= 100, names)
    assert found is not None
    assert found.pooled == pooled
    assert found.small == {"b": small, "c": small, "d": small}
    expected = (
        f"fewer than 20 items, {'judged together' if pooled else 'not judged'}: b ({small}), c ({small}), d ({small})."
    )
    assert found.sentence.endswith(expected)
    assert found.worst is not None
    assert found.worst.name == ("the 3 small slices together" if pooled else "a")


@pytest.mark.parametrize(("items", "judged"), [(19, 0), (20, 1)], ids=["below", "on"])
def test_a_slice_needs_twenty_items(measure: Measure, items: int, judged: int) -> None:
    found = measure(np.zeros(items, int), np.zeros(items, bool), ["only"] * items)
    assert found is not None
    assert len(found.judged) == judged


def test_data_without_names_or_classes_has_no_slices(measure: Measure) -> None:
    assert measure(np.zeros(50, int), np.zeros(50, bool), metric="cosine") is None


def test_the_band_is_wider_the_more_slices_were_looked_at(measure: Measure) -> None:
    def low(slices: int) -> float:
        labels = np.zeros(100 * slices, int)
        found = measure(labels, np.arange(len(labels)) < 20, [f"s{i // 100}" for i in range(len(labels))])
        assert found is not None
        assert found.band[0] is not None
        return found.band[0]

    assert low(1) > low(10) > 0


def evidence(tmp_path: Path, evaluation: Samples | None, outputs: Samples, reference: Samples) -> Evidence:
    from edgekit.artifact import Artifact

    artifact = Artifact(
        path=tmp_path, runtime="tflite", precision="int8-static", size_bytes=1, download_bytes=1, sha256=""
    )
    return Evidence(artifact=artifact, metric="top1", evaluation=evaluation, outputs=outputs, reference=reference)


def judged(given: Evidence, limit: float) -> Check:
    limits = (Limit(name="slice_drop", value=limit, source="test"),)
    (check,) = SliceValidator().run(given, Budget(limits=limits))
    return check


def test_the_check_judges_the_worst_slice(tmp_path: Path, folder_of: Callable[..., Samples]) -> None:
    labels = np.arange(400) % 4
    outputs = folder_of(scores(np.where(np.arange(400) < 30, 3 - labels, labels)))
    names = ["night" if i < 40 else "day" for i in range(400)]
    given = evidence(tmp_path, folder_of(scores(labels) * 0, labels, names), outputs, folder_of(scores(labels)))
    assert [judged(given, limit).verdict for limit in (5.0, 70.0, 99.0)] == ["fail", "inconclusive", "pass"]
    assert [(item["name"], item["count"]) for item in describe_slices(given)] == [("day", 360), ("night", 40)]


def test_without_slices_the_check_is_not_run_with_the_reason(tmp_path: Path, folder_of: Callable[..., Samples]) -> None:
    array = scores(np.zeros(30, int))
    check = judged(evidence(tmp_path, folder_of(array), folder_of(array), folder_of(array)), 1.0)
    assert check.verdict == "not_run"
    assert check.detail == (
        "The evaluation data names no slices and has no class labels. Yield (inputs, target, slice name) from "
        "[data] evaluation in edgekit.toml, or class labels with the metric top1."
    )


def test_a_slice_whose_outputs_are_not_numbers_fails(tmp_path: Path, folder_of: Callable[..., Samples]) -> None:
    labels = np.arange(80) % 4
    outputs = scores(labels)
    outputs[3] = np.nan
    given = evidence(
        tmp_path,
        folder_of(scores(labels) * 0, labels, ["a" if i < 40 else "b" for i in range(80)]),
        folder_of(outputs),
        folder_of(scores(labels)),
    )
    assert judged(given, 99.0).verdict == "fail"


@pytest.mark.parametrize(
    ("true_drop", "alarms"),
    [pytest.param(0.05, 0.01, id="half the limit"), pytest.param(0.1, 0.05, id="exactly the limit")],
)
def test_of_ten_slices_that_keep_a_limit_one_is_seldom_called_worse(true_drop: float, alarms: float) -> None:
    generator = np.random.default_rng(5)
    slices, trials = 10, 1000
    confidence = 1 - 0.05 / slices
    lows = [
        [paired_difference_interval(int(n), 0, 100, confidence).low for n in generator.binomial(100, true_drop, slices)]
        for _ in range(trials)
    ]
    assert sum(max(row) > 0.1 for row in lows) / trials <= alarms
