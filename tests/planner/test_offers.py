"""Techniques before the quantization, as the planner sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.budget import Budget, Limit
from edgekit.planner.offers import OfferEstimate, Situation, pipelines, with_techniques
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Prediction, Recipe


@dataclass(frozen=True)
class Offer:
    name: str
    stage: str
    reason: str | None = None

    def why_not(self, situation):
        return self.reason if situation.has_training else "it needs training data and the task has none"

    def estimate(self, situation):
        return OfferEstimate(size_factor=0.5, macs_factor=0.6, loss_points=1.5, settings={"share": 0.5}, band=0.1)


def situation(*, has_training=True):
    builder = GraphBuilder()
    builder.tensor("x", (1, 3), "float32")
    profile = DeviceProfile(
        name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
        path=Path("board.toml"),
    )  # fmt: skip
    return Situation(
        analysis=builder.finish(["x"], ["x"]), profile=profile, has_calibration=True, has_training=has_training
    )


def allowed(points):
    return Budget(limits=(Limit(name="accuracy_drop", value=points, source="test"),))


def names(found):
    return [[offer.name for offer in pipeline] for pipeline in found]


OFFERS = (Offer("factorize_layers", "factorize"), Offer("prune_channels", "prune"), Offer("distil", "distil"))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (1.9, [[]]),
        (2.0, [[], ["distil"], ["prune_channels"], ["factorize_layers"]]),
        (5.0, [[], ["distil"], ["prune_channels"], ["factorize_layers"]]),
        (
            5.1,
            [
                [],
                ["distil"],
                ["prune_channels"],
                ["factorize_layers"],
                ["distil", "prune_channels", "factorize_layers"],
            ],
        ),
    ],
    ids=["under two", "two", "five", "over five"],
)
def test_the_allowed_loss_decides_how_many_are_combined_in_a_fixed_order(points, expected):
    found, _ = pipelines(OFFERS, situation(), allowed(points))
    assert names(found) == expected


def test_a_technique_that_may_not_lose_enough_is_turned_down_with_both_figures():
    _, refused = pipelines(OFFERS[:1], situation(), Budget())
    assert [(item.candidate, item.reason) for item in refused] == [
        ("factorize_layers", "worth it from 2 points of allowed loss on, and 1 points are allowed")
    ]


def test_a_technique_that_cannot_be_used_is_turned_down_with_its_own_reason():
    found, refused = pipelines(OFFERS[:1], situation(has_training=False), allowed(9))
    assert names(found) == [[]]
    assert refused[0].reason == "it needs training data and the task has none"


def test_predictions_are_scaled_and_bands_widened():
    def prediction(name, value, unit):
        return Prediction(name=name, value=value, low=value, high=value, unit=unit, basis="graph")

    plain = Candidate(
        runtime="tflite",
        recipe=Recipe(default="int8_static"),
        predictions=(
            prediction("size", 1000, "bytes"),
            prediction("memory", 1000, "bytes"),
            prediction("latency", 10, "ms"),
            prediction("accuracy_drop", 1.0, "pp"),
            Prediction(name="parity", value=None, low=None, high=None, unit="dB", basis="not measured"),
        ),
    )
    made = with_techniques(plain, OFFERS[1:2], situation())
    assert made.title == "prune_channels + tflite int8-static"
    assert made.steps[0].settings == {"share": 0.5}
    assert [item.value for item in made.predictions] == [500, 600, 6, 2.5, None]
    size = made.prediction("size")
    assert (size.low, size.high) == pytest.approx((450, 550))
    assert made.technique_points == 1.5
    assert size.basis == "graph; estimated effect of prune_channels"
    assert (made.prediction("accuracy_drop").low, made.prediction("accuracy_drop").high) == (1.0, 4.0)
