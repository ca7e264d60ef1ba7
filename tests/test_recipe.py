"""Recipes and candidates: which precision each part gets, and how it is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.recipe import PRECISIONS, Candidate, OperatorKind, Precision, Prediction, Recipe, Step

RECIPES = st.builds(
    Recipe,
    default=st.sampled_from(PRECISIONS),
    overrides=st.lists(st.tuples(st.text(max_size=8), st.sampled_from(PRECISIONS)), max_size=3).map(tuple),
    ranges=st.sampled_from(["minmax", "percentile", "mse"]),
    per_channel=st.booleans(),
    symmetric_activations=st.booleans(),
    group_size=st.sampled_from([16, 32, 128]),
)


@given(RECIPES)
def test_a_recipe_comes_back_from_json_as_it_was(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(RECIPES, st.text(max_size=8))
def test_every_module_gets_the_default_or_an_override(recipe: Recipe, module: str) -> None:
    assert recipe.word_of(module) in {recipe.default, *(precision for _, precision in recipe.overrides)}


@pytest.mark.parametrize(
    ("module", "precision"),
    [
        ("head.fc", "fp32"),
        ("head", "int8_static"),
        ("blocks.0.conv", "fp16"),
        ("blocks.10.conv", "int8_static"),
        ("stem", "int8_static"),
    ],
    ids=str,
)
def test_the_first_override_that_matches_wins(module: str, precision: Precision) -> None:
    recipe = Recipe(default="int8_static", overrides=(("head.*", "fp32"), ("head.fc", "fp16"), ("blocks.?.*", "fp16")))
    assert recipe.word_of(module) == precision


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("convolution", "int8_static"), ("matrix", "int8_dynamic"), ("follower", "int8_static"), ("other", "fp32")],
    ids=str,
)
def test_a_hybrid_recipe_is_decided_by_the_operator(kind: OperatorKind, precision: Precision) -> None:
    recipe = Recipe(default="int8_hybrid", overrides=(("head", "fp16"),))
    assert recipe.precision_of("stem", kind) == precision
    assert recipe.precision_of(("head.fc", "head"), kind) == "fp16"
    assert recipe.precisions == {"int8_static", "int8_dynamic", "fp16"}


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(), "fp32"),
        (Recipe(default="int8_static"), "int8-static"),
        (Recipe(default="int8_dynamic"), "int8-dynamic"),
        (Recipe(default="int8_hybrid"), "int8-hybrid"),
        (Recipe(default="int8_weights"), "int8-weights"),
        (Recipe(default="int4_weights"), "int4"),
        (Recipe(default="int8_static", overrides=(("head", "fp32"),)), "int8-static+mixed"),
        (Recipe(default="fp16", overrides=(("head", "fp16"),)), "fp16"),
    ],
    ids=str,
)
def test_a_recipe_is_named_as_users_type_it(recipe: Recipe, name: str) -> None:
    assert recipe.name == name


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_only_fixed_integer_ranges_need_calibration(precision: Precision) -> None:
    needed = precision in ("int8_static", "int8_hybrid", "w8a16")
    assert Recipe(default=precision).needs_calibration is needed
    assert Recipe(overrides=(("head", precision),)).needs_calibration is needed


@pytest.mark.parametrize(
    "data",
    [{"default": "int7"}, {"default": "fp32", "overrides": [["head", "int7"]]}],
    ids=["default", "override"],
)
def test_a_precision_that_nobody_knows_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError) as raised:
        Recipe.from_json(data)
    assert raised.value.message == (
        'plan: "int7" is not a precision: accepted are fp32, fp16, int8_static, int8_dynamic, int8_hybrid, '
        "int8_weights, int4_weights, w8a16."
    )


@pytest.mark.parametrize(("columns", "group"), [(384, 64), (96, 32), (40, None)])
def test_rows_of_a_table_are_cut_into_the_largest_groups_that_they_fill(columns: int, group: int | None) -> None:
    assert Recipe(default="int4_weights").table_group(columns) == group


def test_a_candidate_is_titled_by_what_it_does() -> None:
    steps = (Step(technique="prune_channels", settings={"ratio": 0.5}), Step(technique="quantize_static"))
    candidate = Candidate(runtime="tflite", recipe=Recipe(default="int8_static"), steps=steps)
    assert candidate.title == "prune_channels + tflite int8-static"
    assert steps[0].to_json() == {"technique": "prune_channels", "settings": {"ratio": 0.5}}


def test_a_prediction_is_found_by_its_cost() -> None:
    size = Prediction(name="size", value=5.0, low=4.0, high=6.0, unit="bytes", basis="exact")
    candidate = Candidate(runtime="tflite", recipe=Recipe(), predictions=(size,))
    assert candidate.prediction("size") is size
    assert candidate.prediction("latency") is None
    assert size.to_json() == {
        "name": "size",
        "value": 5.0,
        "low": 4.0,
        "high": 6.0,
        "unit": "bytes",
        "basis": "exact",
        "evidence": "computed",
    }
