"""Heads that stay float: in the recipe, in the plan, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.budget import Budget
from edgekit.cli.plan_text import head_words
from edgekit.model import CapturedModel
from edgekit.planner.float_heads import FloatHead, KeptHead, kept_heads, with_float_heads
from edgekit.planner.make import make_plan
from edgekit.planner.plan import Plan
from edgekit.predict.latency import predict_latency
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.recipe import Candidate, Recipe
from edgekit.validators.requested import read_requested, requested_metadata, requested_settings

HEAD = FloatHead(position=0, output="found", decodes=True, layers=(), why="it has 1 joint")
LAYERS = FloatHead(position=1, output="values", decodes=False, layers=("fc",), why="channels of fc")


def detector():
    """Boxes and the sigmoid of scores in one output, and another output."""
    builder = GraphBuilder()
    builder.tensor("x", (1, 8, 16, 16), "float32")
    for name, channels in (("boxes", 4), ("scores", 2), ("mask", 1)):
        values = np.full((channels, 8, 1, 1), channels, np.float32)
        builder.store(f"{name}.weight", values.shape, "float32", lambda values=values: values)
        builder.tensor(name, (1, channels, 16, 16), "float32")
        builder.add(
            name=name, type="conv2d", kernel="pointwise_conv", module=name, reads=["x", f"{name}.weight"],
            outputs=[name], macs=2048 * channels, roles={f"{name}.weight": ("kernel", channels)},
        )  # fmt: skip
    builder.tensor("sure", (1, 2, 16, 16), "float32")
    builder.add(name="sure", type="sigmoid", kernel="elementwise", module="", reads=["scores"], outputs=["sure"])
    builder.tensor("found", (1, 6, 16, 16), "float32")
    members = ["boxes", "sure"]
    builder.add(name="found", type="cat", kernel="data_movement", module="", reads=members, outputs=["found"])
    return builder.finish(["x"], ["found", "mask"])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_dynamic", "int8_weights"])
def test_recipes_without_fixed_ranges_stay_as_they_are(precision):
    assert with_float_heads(Recipe(default=precision), "tflite", [HEAD, LAYERS]) == Recipe(default=precision)


@pytest.mark.parametrize("precision", ["int8_static", "int8_hybrid"])
def test_static_recipes_keep_heads_in_float_under_their_own_name(precision):
    found = with_float_heads(Recipe(default=precision), "tflite", [HEAD])
    assert found == Recipe(default=precision, float_heads=(0,))
    assert found.name == precision.replace("_", "-")


@pytest.mark.parametrize(("runtime", "precision"), [("tflite", "fp32"), ("coreml", "fp16")])
def test_layers_get_the_float_that_the_format_mixes_with_integers(runtime, precision):
    found = with_float_heads(Recipe(default="int8_static"), runtime, [LAYERS])
    assert found.overrides == (("fc", precision),)
    assert found.float_heads == ()


def test_the_joint_alone_is_float_and_the_layers_before_it_are_not():
    found = analysis_precisions(detector(), Recipe(default="int8_static", float_heads=(0,)))
    assert {name for name, precision in found.items() if precision == "fp32"} == {"sure", "found"}
    assert {found[name] for name in ("boxes", "scores", "mask")} == {"int8_static"}
    assert set(analysis_precisions(detector(), Recipe(default="int8_static")).values()) == {"int8_static"}


def test_what_a_head_costs_is_the_difference_of_two_predictions():
    recipe = Recipe(default="int8_static", float_heads=(0,))
    (kept,) = kept_heads(Candidate(runtime="tflite", recipe=recipe), [HEAD], detector(), find_profile("pi4", Path()))
    rates = find_profile("pi4", Path()).latency_model
    after, before = (
        predict_latency(detector(), item, "tflite", rates, "pi4")[0].value
        for item in (recipe, Recipe(default="int8_static"))
    )
    assert after is not None
    assert before is not None
    assert kept.latency_ms == pytest.approx(max(0.0, after - before))
    assert kept.latency_share == pytest.approx(max(0.0, after - before) / before)


def test_a_recipe_without_fixed_ranges_keeps_no_head():
    plain = Candidate(runtime="tflite", recipe=Recipe(default="fp16"))
    assert kept_heads(plain, [HEAD], detector(), find_profile("pi4", Path())) == ()


def test_a_plan_names_its_heads_and_reads_them_back():
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("float.pt2"), inputs=(),
        outputs=(), digest="0" * 64, parameters=56, macs=None, family="cnn",
    )  # fmt: skip
    analysis = replace(detector(), family="cnn")
    profile: DeviceProfile = find_profile("pi4", Path())
    made = make_plan(model, analysis, profile, Budget(), formats=("tflite",), precision="int8", heads=[HEAD])
    assert made.chosen is not None
    assert made.chosen.recipe.float_heads == (0,)
    assert [head.output for head in made.heads] == ["found"]
    assert Plan.from_json(made.to_json()).heads == made.heads


def test_words_about_a_head_name_its_cost_or_say_that_it_is_not_known():
    kept = KeptHead(output="found", why="it has 1 joint", layers=("fc",), latency_ms=0.25, latency_share=0.012)
    assert (
        head_words(kept) == "the head of found and fc stays float: it has 1 joint; predicted cost 0.25 ms, 1.2% of all"
    )
    assert head_words(KeptHead(output="found", why="it has 1 joint")) == (
        "the head of found stays float: it has 1 joint; its latency cannot be predicted here"
    )


def test_an_artifact_says_which_heads_were_requested_in_float():
    recipe = Recipe(default="int8_static", float_heads=(0, 2))
    found = read_requested(requested_metadata(recipe, "float"))
    assert found is not None
    assert found.recipe == recipe
    assert requested_metadata(Recipe(default="int8_static"), "float") == {"edgekit.precision": "int8-static"}


def test_without_the_model_nobody_tells_which_small_layer_of_a_head_may_be_float():
    recipe = Recipe(default="int8_static", float_heads=(0,))
    assert not requested_settings(recipe).knows_layers
    assert requested_settings(recipe, analysis=detector()).knows_layers
