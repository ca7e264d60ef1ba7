"""What techniques offer to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.planner.offers import ORDER, Situation
from edgekit.planner.rules import LOSS_POINTS
from edgekit.planner.technique_offers import OFFERS, offers_for
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.techniques.base import technique


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


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_an_offer_is_a_technique_with_settings_that_it_has(offer, situation):
    situation = replace(
        situation, analysis=replace(situation.analysis, family=offer.families[0]), has_training=offer.trains
    )
    assert technique(offer.name).from_settings(offer.settings, "test").name == offer.name
    assert offer.stage in ORDER
    assert offer.why_not(situation) is None
    estimate = offer.estimate(situation)
    assert 0 <= estimate.macs_factor <= 1
    assert estimate.settings == offer.settings
    assert estimate.loss_points == LOSS_POINTS[offer.loss_class]


def test_the_offers_stand_in_the_order_of_the_pipeline():
    assert [ORDER.index(offer.stage) for offer in OFFERS] == sorted(ORDER.index(offer.stage) for offer in OFFERS)


def test_a_model_of_another_family_is_refused(situation):
    other = replace(situation, analysis=replace(situation.analysis, family="rnn"))
    assert OFFERS[-1].why_not(other) == "it is for transformer models"


def test_a_task_without_the_data_is_refused(situation):
    assert OFFERS[-1].why_not(replace(situation, has_calibration=False)) == (
        "it needs calibration data and the task has none; give --calibration, or [data] calibration"
    )
    other = replace(situation, analysis=replace(situation.analysis, family="cnn"))
    assert OFFERS[0].why_not(other) == "it needs training data and the task has none; give [training]"


def names(kind, family, *, has_training=False):
    return [offer.name for offer in offers_for(kind, family, has_training=has_training)]


def test_only_models_that_could_be_changed_get_offers():
    assert names("pt2", "transformer") == ["drop_layers", "prune_heads", "factorize"]
    assert names("keras", "transformer") == ["drop_layers", "prune_heads", "factorize"]
    assert names("tflite", "transformer") == []
    assert names("onnx", "cnn") == []
    assert names("pt2", "cnn", has_training=True) == ["distill", "prune_channels"]
