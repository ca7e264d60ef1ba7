"""What decides among candidates that fit: accuracy, size, speed, or a balance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.budget import COSTS, Budget
from edgekit.planner.choice import judge_candidates
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Prediction, Recipe

BOARD = DeviceProfile(
    name="board",
    title="Board",
    kind="raspberry_pi",
    runtimes=("tflite", "onnx"),
    hardware=Hardware(cpu=(), features=("neon",)),
    path=Path("board.toml"),
)


def candidate(runtime, precision, *, size, latency, drop=None):
    """Returns a candidate with its costs; `drop` is (low, value, high) in points."""
    low, value, high = drop or (None, None, None)
    costs = {"size": size, "latency": latency}
    predictions = [
        Prediction(name=name, value=cost, low=cost, high=cost, unit=COSTS[name].unit, basis="")
        for name, cost in costs.items()
    ]
    lost = Prediction(
        name="accuracy_drop", value=value, low=low, high=high, unit="pp", basis="", evidence="expected"
    )  # fmt: skip
    return Candidate(runtime=runtime, recipe=Recipe(default=precision), predictions=(*predictions, lost))


FLOAT = candidate("tflite", "fp32", size=400, latency=40, drop=(0, 0, 0))
UNSEEN = candidate("tflite", "int8_static", size=100, latency=20, drop=(-0.4, 0.6, 2.0))
SEEN = candidate("tflite", "int8_static", size=100, latency=20, drop=(0.2, 0.6, 2.0))
SMALLER = candidate("onnx", "int8_static", size=90, latency=30, drop=(0.1, 0.7, 1.0))
FASTER = candidate("onnx", "int8_dynamic", size=110, latency=10, drop=(0.1, 0.7, 1.0))


@pytest.mark.parametrize(
    ("prefer", "candidates", "first"),
    [
        pytest.param("balanced", [FLOAT, UNSEEN], UNSEEN, id="a loss that does not show buys size and speed"),
        pytest.param("balanced", [FLOAT, SEEN], FLOAT, id="a loss that shows buys nothing"),
        pytest.param("accuracy", [FLOAT, UNSEEN], FLOAT, id="accuracy takes the float model"),
        pytest.param("balanced", [FLOAT, UNSEEN, SMALLER, FASTER], UNSEEN, id="the preferred format comes first"),
        pytest.param("size", [FLOAT, UNSEEN, SMALLER, FASTER], SMALLER, id="the smallest of all formats"),
        pytest.param("speed", [FLOAT, UNSEEN, SMALLER, FASTER], FASTER, id="the fastest of all formats"),
    ],
)
def test_the_preference_decides_among_what_fits(prefer, candidates, first):
    judged = judge_candidates(candidates, Budget(), BOARD, "cnn", BOARD.runtimes, prefer)
    assert judged[0].candidate is first


def test_a_gain_of_less_than_a_tenth_does_not_buy_a_loss():
    barely = candidate("tflite", "int8_static", size=390, latency=39.5, drop=(-0.4, 0.6, 2.0))
    judged = judge_candidates([barely, FLOAT], Budget(), BOARD, "cnn", BOARD.runtimes, "balanced")
    assert judged[0].candidate is FLOAT


def test_without_a_prediction_practice_says_what_shows():
    half = candidate("tflite", "fp16", size=200, latency=40)
    dynamic = candidate("tflite", "int8_dynamic", size=100, latency=20)
    judged = judge_candidates([FLOAT, half, dynamic], Budget(), BOARD, "transformer", BOARD.runtimes, "balanced")
    assert [item.candidate for item in judged] == [half, FLOAT, dynamic]
    assert [item.unseen for item in judged] == [True, True, False]


def test_a_technique_that_was_not_tried_is_never_taken_for_lossless():
    pruned = replace(candidate("tflite", "fp32", size=50, latency=5, drop=(-1.0, 0.5, 9.0)), technique_points=0.5)
    judged = judge_candidates([pruned, FLOAT], Budget(), BOARD, "transformer", BOARD.runtimes, "balanced")
    assert judged[0].candidate is FLOAT
