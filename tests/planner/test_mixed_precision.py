"""The solver against all combinations, on cases small enough to try every one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.planner.mixed_precision import Choice, Layer, solve, with_precisions
from edgekit.recipe import Recipe

PRECISIONS = ("fp32", "fp16", "int8_static", "int4_weights")

numbers = st.integers(0, 50)
choices = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4)
cases = st.tuples(st.lists(choices, min_size=1, max_size=5), st.integers(0, 200), st.integers(0, 200))


def layers_of(table):
    return [
        Layer(
            module=f"m{i}",
            choices=tuple(
                Choice(precision=PRECISIONS[k], noise=noise * 1e-7, costs={"size": size * 1e5, "latency": latency / 10})
                for k, (noise, size, latency) in enumerate(row)
            ),
        )
        for i, row in enumerate(table)
    ]


def total(picked, name):
    return sum(choice.costs[name] for choice in picked)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_the_optimum_is_found_and_keeps_the_limits(case):
    table, size, latency = case
    layers, limits = layers_of(table), {"size": size * 1e5, "latency": latency / 10}
    allowed = [
        picked
        for picked in itertools.product(*(layer.choices for layer in layers))
        if all(total(picked, name) <= limit + 1e-6 for name, limit in limits.items())
    ]
    found = solve(layers, limits)
    if not allowed:
        assert found is None
        return
    best = min(sum(choice.noise for choice in picked) for picked in allowed)
    assert [choice in layer.choices for choice, layer in zip(found, layers, strict=True)] == [True] * len(layers)
    assert sum(choice.noise for choice in found) == pytest.approx(best, rel=1e-6, abs=1e-13)
    assert all(total(found, name) <= limit * (1 + 1e-6) + 1e-6 for name, limit in limits.items())


def test_without_limits_each_layer_gets_its_best():
    found = solve(layers_of([[(5, 1, 1), (1, 9, 9)], [(2, 1, 1), (7, 0, 0)]]), {})
    assert [choice.noise for choice in found] == [1e-7, 2e-7]


def test_no_layers_keep_a_limit_that_is_not_negative():
    assert solve([], {"size": 0.0}) == ()
    assert solve([], {"size": -1.0}) is None


def test_only_what_differs_from_the_default_is_named():
    recipe = with_precisions(Recipe(default="int8_static"), {"a": "int8_static", "b.c": "fp32"})
    assert recipe.overrides == (("b.c", "fp32"),)


def test_a_module_inside_one_that_differs_keeps_its_own_precision():
    recipe = with_precisions(Recipe(default="int8_static"), {"a": "fp32", "a.b": "int8_static", "c": "int8_static"})
    assert recipe.overrides == (("a.b", "int8_static"), ("a", "fp32"))
    assert [recipe.word_of(name) for name in ("a", "a.b", "c")] == ["fp32", "int8_static", "int8_static"]


def test_a_name_with_pattern_letters_stands_for_itself():
    recipe = with_precisions(Recipe(default="int8_static"), {"blocks[0]": "fp32"})
    assert recipe.word_of("blocks[0]") == "fp32"
    assert recipe.word_of("blocks0") == "int8_static"
