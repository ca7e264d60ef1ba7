"""The table of what practice knows."""

from __future__ import annotations

import itertools

import pytest

from edgekit.formats.practice import Setting
from edgekit.formats.table import all_formats
from edgekit.model import Family
from edgekit.planner.rules import LOSS_POINTS, RULES, SPEED_WORDS, find_rule
from edgekit.recipe import PRECISIONS

FAMILIES = Family.__args__
SETTINGS = [
    Setting(family=family, runtime=runtime, device_kind=kind, features=features)
    for family, runtime, kind, features in itertools.product(
        FAMILIES,
        ("tflite", "onnx", "executorch", "coreml", "other"),
        ("phone", "jetson"),
        ((), ("neon",), ("neon", "dotprod", "fp16")),
    )
]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_has_an_answer_everywhere(precision):
    for setting in SETTINGS:
        assert find_rule("loss", precision, setting).rank in LOSS_POINTS
        assert find_rule("speed", precision, setting).rank in SPEED_WORDS


def test_every_rule_is_the_first_somewhere():
    used = {id(find_rule(q, p, s)) for q in ("loss", "speed") for p in PRECISIONS for s in SETTINGS}
    rules = (*RULES, *(rule for one in all_formats() for rule in one.practice))
    assert [rule.reason for rule in rules if id(rule) not in used] == []


def test_expected_loss_grows_from_float_to_int4():
    setting = Setting(family="cnn", runtime="tflite", device_kind="phone", features=())
    ranks = [
        find_rule("loss", p, setting).rank for p in ("fp32", "fp16", "int8_weights", "int8_static", "int4_weights")
    ]
    assert ranks == sorted(ranks)


def test_static_int8_is_the_worst_for_attention():
    setting = Setting(family="transformer", runtime="onnx", device_kind="phone", features=())
    assert find_rule("loss", "int8_static", setting).rank > find_rule("loss", "int4_weights", setting).rank


def test_dynamic_int8_slows_convolutions_down():
    setting = Setting(family="cnn", runtime="onnx", device_kind="phone", features=())
    assert SPEED_WORDS[find_rule("speed", "int8_dynamic", setting).rank] == "slower than float"


@pytest.mark.parametrize(("features", "rank"), [((), 2), (("fp16",), 1)], ids=["without", "with"])
def test_fp16_pays_only_with_16_bit_arithmetic(features, rank):
    setting = Setting(family="cnn", runtime="tflite", device_kind="phone", features=features)
    assert find_rule("speed", "fp16", setting).rank == rank


def test_a_hole_in_the_table_is_a_bug_that_says_where():
    setting = Setting(family="cnn", runtime="tflite", device_kind="phone", features=())
    with pytest.raises(LookupError) as caught:
        find_rule("loss", "int3", setting)
    assert str(caught.value) == f"No rule says the loss of int3 for {setting}."
