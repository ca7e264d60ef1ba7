"""Which other INT8 a model gets that came out far from the float model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgekit.planner.other_integers import MeasuredRecipe, nearest, other_integers
from edgekit.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

STATIC = Recipe(default="int8_static", symmetric_activations=True, float_heads=(1,), overrides=(("a.*", "fp32"),))
PERCENTILE, MSE, HYBRID, DYNAMIC, WEIGHTS = other_integers(STATIC)


def measured(figures: dict[Recipe, float | None], requested: list[Recipe]) -> Callable[[Recipe], MeasuredRecipe | None]:
    def measure(recipe: Recipe) -> MeasuredRecipe | None:
        requested.append(recipe)
        figure = figures[recipe]
        return None if figure is None else MeasuredRecipe(recipe=recipe, parity_db=figure)

    return measure


def test_recipes_that_cost_less_come_first() -> None:
    found = [(item.default, item.ranges) for item in (PERCENTILE, MSE, HYBRID, DYNAMIC, WEIGHTS)]
    assert found == [
        ("int8_static", "percentile"),
        ("int8_static", "mse"),
        ("int8_hybrid", "minmax"),
        ("int8_dynamic", "minmax"),
        ("int8_weights", "minmax"),
    ]


def test_layers_that_stay_float_stay_so_and_what_is_about_fixed_ranges_goes_with_them() -> None:
    assert {item.overrides for item in other_integers(STATIC)} == {STATIC.overrides}
    assert (HYBRID.float_heads, HYBRID.symmetric_activations) == ((1,), True)
    for item in (DYNAMIC, WEIGHTS):
        assert (item.float_heads, item.symmetric_activations) == ((), False)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int4_weights", "w8a16", "int8_weights"])
def test_other_bits_have_no_other_recipe_of_8_bits(precision: str) -> None:
    assert other_integers(Recipe.from_json({"default": precision})) == ()


def test_a_dynamic_recipe_rounds_less_with_integer_weights_alone() -> None:
    assert [item.default for item in other_integers(Recipe(default="int8_dynamic"))] == ["int8_weights"]


def test_the_first_that_comes_near_is_taken_and_nothing_after_it_is_measured() -> None:
    requested: list[Recipe] = []
    figures: dict[Recipe, float | None] = {PERCENTILE: 8.4, MSE: 7.0, HYBRID: 30.0}
    base = MeasuredRecipe(recipe=STATIC, parity_db=8.0)
    found, tried = nearest(base, (PERCENTILE, MSE, HYBRID, WEIGHTS), measured(figures, requested))
    assert found == MeasuredRecipe(recipe=HYBRID, parity_db=30.0)
    assert [item.recipe for item in tried] == requested == [PERCENTILE, MSE, HYBRID]


@pytest.mark.parametrize(
    ("figure", "taken"), [pytest.param(15.9, DYNAMIC, id="just-near"), pytest.param(16.0, MSE, id="surely-near")]
)
def test_what_is_near_by_less_than_samples_leave_open_does_not_end_the_search(figure: float, taken: Recipe) -> None:
    base = MeasuredRecipe(recipe=STATIC, parity_db=8.0)
    assert nearest(base, (MSE, DYNAMIC), measured({MSE: figure, DYNAMIC: 21.0}, []))[0].recipe == taken


@pytest.mark.parametrize(
    ("figures", "taken"),
    [
        pytest.param({MSE: 9.0, DYNAMIC: 13.0, WEIGHTS: 13.9}, DYNAMIC, id="the-cheapest-of-those-alike"),
        pytest.param({MSE: 9.0, DYNAMIC: 12.9, WEIGHTS: 14.0}, WEIGHTS, id="the-best"),
        pytest.param({MSE: 9.0, DYNAMIC: 10.9, WEIGHTS: 10.9}, MSE, id="ranges-cost-nothing"),
        pytest.param({MSE: 8.9, DYNAMIC: 10.9, WEIGHTS: 10.9}, STATIC, id="all-gain-too-little"),
        pytest.param({MSE: None, DYNAMIC: None, WEIGHTS: 11.0}, WEIGHTS, id="what-cannot-be-made-is-passed-over"),
    ],
)
def test_where_none_comes_near_a_gain_that_is_worth_its_cost_decides(
    figures: dict[Recipe, float | None], taken: Recipe
) -> None:
    base = MeasuredRecipe(recipe=STATIC, parity_db=8.0)
    assert nearest(base, tuple(figures), measured(figures, []))[0].recipe == taken


def test_what_comes_near_and_gains_nothing_over_a_base_that_is_near_on_these_samples_is_not_taken() -> None:
    base = MeasuredRecipe(recipe=STATIC, parity_db=22.0)
    found, _ = nearest(base, (MSE, DYNAMIC), measured({MSE: 22.5, DYNAMIC: 23.5}, []))
    assert found is base


def test_a_sound_recipe_is_taken_in_the_place_of_one_with_dead_outputs_however_near_that_is() -> None:
    base = MeasuredRecipe(recipe=STATIC, parity_db=25.0, is_sound=False)
    made = {
        MSE: MeasuredRecipe(recipe=MSE, parity_db=27.0, is_sound=False),
        HYBRID: MeasuredRecipe(recipe=HYBRID, parity_db=25.5),
    }
    assert nearest(base, (MSE, HYBRID), made.__getitem__)[0] is made[HYBRID]


def test_a_recipe_with_dead_outputs_never_takes_the_place_of_a_sound_one() -> None:
    base = MeasuredRecipe(recipe=STATIC, parity_db=10.0)
    dead = MeasuredRecipe(recipe=DYNAMIC, parity_db=30.0, is_sound=False)
    assert nearest(base, (DYNAMIC,), lambda _recipe: dead)[0] is base
