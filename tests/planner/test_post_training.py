"""What the post-training techniques offer to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.device_profile import DeviceProfile, Hardware
from edgekit.planner.offers import ORDER, Situation
from edgekit.planner.post_training import POST_TRAINING, offers_for
from edgekit.planner.rules import LOSS_POINTS
from edgekit.registry import technique


@pytest.fixture
def situation():
    builder = GraphBuilder()
    builder.tensor("x", (1, 3), "float32")
    profile = DeviceProfile(
        name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
        path=Path("board.toml"),
    )  # fmt: skip
    analysis = replace(builder.finish(["x"], ["x"]), family="transformer")
    return Situation(analysis=analysis, profile=profile, has_calibration=True, has_training=False)


@pytest.mark.parametrize("offer", POST_TRAINING, ids=lambda offer: offer.name)
def test_an_offer_is_a_technique_with_settings_that_it_has(offer, situation):
    assert technique(offer.name).from_settings(offer.settings, "test").name == offer.name
    assert offer.stage in ORDER
    assert offer.why_not(situation) is None
    estimate = offer.estimate(situation)
    assert 0 <= estimate.macs_factor <= 1
    assert estimate.settings == offer.settings
    assert estimate.loss_points == LOSS_POINTS[4]


def test_a_model_of_another_family_is_refused(situation):
    other = replace(situation, analysis=replace(situation.analysis, family="cnn"))
    assert POST_TRAINING[0].why_not(other) == "it is for transformer models"


def test_a_task_without_calibration_data_is_refused(situation):
    assert POST_TRAINING[0].why_not(replace(situation, has_calibration=False)) == (
        "it needs calibration data and the task has none; give --calibration, or [data] calibration"
    )


def test_only_models_that_could_be_changed_get_offers():
    assert offers_for("pt2", "transformer") == POST_TRAINING
    assert offers_for("keras", "transformer") == ()
    assert offers_for("onnx", "cnn") == ()
