"""The order of candidates: the optimum on cases small enough to try every one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.budget import COSTS, Budget, Limit
from edgekit.checks import judge
from edgekit.planner.choice import (
    BROKEN,
    KEPT,
    LIKELY,
    UNLIKELY,
    check_candidate,
    excess_words,
    judge_candidates,
    relative_excess,
)
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Prediction, Recipe

RUNTIMES = ("tflite", "onnx", "executorch")
PRECISIONS = ("fp32", "fp16", "int8_static")
BOARD = DeviceProfile(
    name="board",
    title="Board",
    kind="raspberry_pi",
    runtimes=RUNTIMES,
    hardware=Hardware(cpu=(), features=("neon",)),
    path=Path("board.toml"),
)


def prediction(name, value, band=0.0):
    unit = COSTS[name].unit
    low, high = (None, None) if value is None else (value * (1 - band), value * (1 + band))
    return Prediction(name=name, value=value, low=low, high=high, unit=unit, basis="")


def candidate(runtime, precision, band=0.0, **costs):
    return Candidate(
        runtime=runtime,
        recipe=Recipe(default=precision),
        predictions=tuple(prediction(name, value, band) for name, value in costs.items()),
    )


def limits(**values):
    return Budget().overridden_by(Limit(name=name, value=value, source="test") for name, value in values.items())


costs = st.tuples(*(st.integers(1, 100) for _ in range(3)))
cases = st.dictionaries(st.tuples(st.sampled_from(RUNTIMES), st.sampled_from(PRECISIONS)), costs, min_size=1)


@given(cases, costs)
def test_the_first_keeps_every_budget_at_the_least_loss_in_the_preferred_runtime(table, maxima):
    names = ("size", "download", "memory")
    candidates = [candidate(r, p, **dict(zip(names, c, strict=True))) for (r, p), c in table.items()]
    first = judge_candidates(candidates, limits(**dict(zip(names, maxima, strict=True))), BOARD, "cnn", RUNTIMES)[0]
    keeping = [key for key, cost in table.items() if all(a <= b for a, b in zip(cost, maxima, strict=True))]
    if keeping:
        best = min(keeping, key=lambda key: (RUNTIMES.index(key[0]), PRECISIONS.index(key[1])))
        assert (first.candidate.runtime, first.candidate.recipe.default) == best
        assert first.tier == KEPT
    else:
        assert first.tier == BROKEN


@pytest.mark.parametrize(
    ("size", "band", "tier"),
    [
        pytest.param(90, 0.0, KEPT, id="below"),
        pytest.param(100, 0.0, KEPT, id="on the limit"),
        pytest.param(101, 0.0, BROKEN, id="above"),
        pytest.param(95, 0.1, LIKELY, id="band crosses, value below"),
        pytest.param(105, 0.1, UNLIKELY, id="band crosses, value above"),
        pytest.param(120, 0.1, BROKEN, id="the whole band above"),
        pytest.param(None, 0.0, KEPT, id="not known"),
    ],
)
def test_tiers(size, band, tier):
    (judged,) = judge_candidates(
        [candidate("tflite", "fp32", band, size=size)], limits(size=100), BOARD, "cnn", RUNTIMES
    )
    assert judged.tier == tier


def test_a_certain_candidate_stands_before_a_likely_one():
    likely, certain = candidate("tflite", "fp32", 0.2, size=95), candidate("onnx", "int8_static", 0.2, size=50)
    judged = judge_candidates([likely, certain], limits(size=100), BOARD, "cnn", RUNTIMES)
    assert [item.candidate for item in judged] == [certain, likely]


def test_costs_that_are_free_and_seldom_requested_are_not_checked():
    checks = check_candidate(candidate("tflite", "fp32", size=5, parity=30), limits())
    assert [check.name for check in checks] == ["size"]
    assert len(check_candidate(candidate("tflite", "fp32", size=5, parity=30), limits(parity=20))) == 2


def test_an_excess_over_a_maximum_and_under_a_minimum_read_right():
    size, parity = (
        Limit(name="size", value=1e6, source="profile"),
        Limit(name="parity", value=20, source="--min-parity"),
    )
    assert excess_words(judge("size", 1.5e6, size), size) == "size 1.5 MB exceeds 1 MB (profile) by 500 kB"
    assert (
        excess_words(judge("parity", 15, parity), parity) == "parity 15.0 dB is under 20.0 dB (--min-parity) by 5.0 dB"
    )
    assert relative_excess(judge("size", 1.5e6, size), size) == pytest.approx(0.5)


def test_a_limit_of_nothing_is_missed_by_infinitely_much():
    nothing = Limit(name="size", value=0, source="test")
    assert relative_excess(judge("size", 1, nothing), nothing) == float("inf")


@pytest.mark.parametrize(
    ("evidence", "value", "tier"),
    [
        ("simulated", 0.0, KEPT),
        ("simulated", 2.0, UNLIKELY),
        ("expected", 2.0, KEPT),
        ("measured", 0.0, LIKELY),
    ],
)
def test_how_a_loss_is_known_decides_what_a_band_across_the_limit_means(evidence, value, tier):
    loss = Prediction(
        name="accuracy_drop", value=value, low=-1.0, high=3.5, unit="pp", basis="100 samples", evidence=evidence
    )
    made = Candidate(runtime="tflite", recipe=Recipe(default="fp16"), predictions=(loss,))
    (judged,) = judge_candidates([made], limits(accuracy_drop=1.0), BOARD, "cnn", RUNTIMES)
    assert judged.tier == tier


def test_what_a_finalist_was_measured_to_cost_is_no_prediction():
    item = prediction("size", 100)
    found = [
        check_candidate(
            Candidate(
                runtime="tflite",
                recipe=Recipe(),
                predictions=(replace(item, evidence=evidence),),
            ),
            limits(size=200),
        )[0].basis
        for evidence in ("computed", "simulated", "measured")
    ]
    assert found == ["predicted", "predicted", "measured"]
