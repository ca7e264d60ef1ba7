"""Which changes may help which precision, and how they combine."""

from __future__ import annotations

import pytest

from edgekit.planner.recipes import steps_of
from edgekit.planner.rescues import GAIN_DB, Rescue, joined, possible_rescues, worth_joining
from edgekit.recipe import Candidate, Recipe, Step

EQUALIZE = Rescue(steps=(Step(technique="equalize"),))
ROUND = Rescue(steps=(Step(technique="round_weights", settings={"method": "gptq"}),))
MSE = Rescue(ranges="mse")


def candidate(precision: str, **more: object) -> Candidate:
    recipe = Recipe(default=precision, **more)  # type: ignore[arg-type]  # a name from the test's table
    return Candidate(runtime="tflite", recipe=recipe, steps=steps_of(recipe))


@pytest.mark.parametrize(
    ("precision", "titles"),
    [
        (
            "int8_static",
            ("equalize smooth_activations ranges=mse ranges=percentile round_weights:method=gptq"),
        ),
        ("int8_dynamic", "equalize smooth_activations round_weights:method=gptq"),
        (
            "int4_weights",
            (
                "equalize smooth_activations round_weights:method=gptq,bits=4,group_size=32 "
                "round_weights:method=blocks,bits=4,group_size=32"
            ),
        ),
        ("fp16", ""),
        ("fp32", ""),
    ],
)
def test_a_precision_has_the_changes_that_could_help_it(precision, titles):
    assert " ".join(change.title for change in possible_rescues(candidate(precision))) == titles


def test_ranges_that_a_recipe_has_already_are_not_tried():
    titles = [change.title for change in possible_rescues(candidate("int8_static", ranges="mse"))]
    assert "ranges=minmax" in titles
    assert "ranges=mse" not in titles


def test_changes_join_in_the_order_of_techniques():
    both = joined(ROUND, EQUALIZE)
    assert both is not None
    assert both.title == "equalize + round_weights:method=gptq"
    assert joined(both, MSE) == Rescue(steps=both.steps, ranges="mse")


def test_changes_about_the_same_thing_do_not_join():
    assert joined(MSE, Rescue(ranges="percentile")) is None
    assert joined(ROUND, Rescue(steps=(Step(technique="round_weights", settings={"method": "adaround"}),))) is None


def test_only_what_gains_is_joined_and_the_best_comes_first():
    gains = [(EQUALIZE, GAIN_DB - 0.01), (MSE, 0.5), (ROUND, 2.0)]
    assert worth_joining(gains) == (ROUND, MSE)


def test_a_candidate_gets_the_steps_before_its_own_and_the_ranges():
    found = Rescue(steps=EQUALIZE.steps, ranges="percentile").applied_to(candidate("int8_static"))
    assert found.title == "equalize + tflite int8-static"
    assert found.recipe.ranges == "percentile"
    assert found.steps[-1] == steps_of(found.recipe)[0]
    assert found.steps[-1].settings["ranges"] == "percentile"


def test_no_change_leaves_a_candidate_alone():
    assert Rescue().applied_to(candidate("int8_static")) == candidate("int8_static")
    assert Rescue().title == "nothing"
