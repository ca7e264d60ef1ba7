"""Candidates: who is on the front, and what became of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.html_report.candidates import SHOWN, Option, front, options_of
from edgekit.recipe import Recipe


def option(title: str, **figures: float) -> Option:
    predictions = {
        name: {"name": name, "value": value, "low": None, "high": None, "unit": "bytes"}
        for name, value in figures.items()
    }
    return Option(title=title, runtime="onnx", pipeline=title, predictions=predictions, fate="rejected", reason="")


def test_the_front_holds_what_nothing_beats() -> None:
    small = option("small", size=1, latency=9)
    quick = option("quick", size=9, latency=1)
    beaten = option("beaten", size=9, latency=9)
    assert front([small, quick, beaten], SHOWN) == {"small", "quick"}


def test_equals_are_both_on_the_front() -> None:
    assert front([option("a", size=1, memory=2), option("b", size=1, memory=2)], SHOWN) == {"a", "b"}


def test_one_without_figures_is_on_no_front_and_beats_nobody() -> None:
    assert front([option("unknown"), option("known", size=1)], SHOWN) == {"known"}


def test_only_costs_that_both_have_are_compared() -> None:
    assert front([option("a", size=1, latency=5), option("b", size=2)], SHOWN) == {"a"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_everything_off_the_front_is_beaten_by_something_on_it(figures: list[tuple[int, int, int]]) -> None:
    options = [option(str(i), size=a, latency=b, memory=c) for i, (a, b, c) in enumerate(figures)]
    best = front(options, SHOWN)
    assert best
    for item, own in zip(options, figures, strict=True):
        beaten = any(
            all(x <= y for x, y in zip(figures[int(title)], own, strict=True)) and figures[int(title)] != own
            for title in best
        )
        assert beaten == (item.title not in best)


def plan(**more: Any) -> dict[str, Any]:
    recipe = Recipe(default="int8_static").to_json()
    chosen = {"runtime": "onnx", "recipe": recipe, "steps": [], "predictions": []}
    facts = {"reasons": ["it is small"], "runners_up": [], "rejected": [], "considered": []}
    return {**chosen, **facts, **more}


def candidate(precision: Any) -> dict[str, Any]:
    recipe = Recipe(default=precision)
    return {
        "candidate": f"onnx {recipe.name}", "runtime": "onnx", "recipe": recipe.to_json(), "predictions": [],
        "steps": [{"technique": "quantize_static", "settings": {"ranges": "mse"}}],
    }  # fmt: skip


def test_each_candidate_keeps_its_fate_and_the_reason() -> None:
    made = plan(
        considered=[candidate("int8_static"), candidate("fp16"), candidate("fp32")],
        runners_up=[{**candidate("fp16"), "reason": "larger"}],
        rejected=[
            {"candidate": "onnx fp32", "reason": "too large"},
            {"candidate": "coreml fp16", "reason": "not installed"},
        ],
    )
    assert [(item.title, item.fate, item.reason) for item in options_of([made])] == [
        ("onnx int8-static", "chosen", "it is small"),
        ("onnx fp16", "runner-up", "larger"),
        ("onnx fp32", "rejected", "too large"),
        ("coreml fp16", "rejected", "not installed"),
    ]


def test_the_pipeline_has_steps_settings_and_what_is_mixed() -> None:
    recipe = Recipe(default="int8_static", overrides=(("stem", "fp32"), ("head", "fp32"), ("neck", "fp32")))
    step = {"technique": "equalize", "settings": {}}
    (chosen,) = options_of([plan(recipe=recipe.to_json(), steps=[step, *candidate("int8_static")["steps"]])])
    assert chosen.title == "equalize + onnx int8-static+mixed"
    assert chosen.pipeline == (
        "onnx: equalize, then quantize_static (ranges mse); 3 modules in fp32: stem, head and 1 more"
    )


@pytest.mark.parametrize("plans", [[], [plan(runtime=None, recipe=None)]], ids=["no plan", "nothing was chosen"])
def test_without_a_choice_there_may_be_no_options(plans: list[dict[str, Any]]) -> None:
    assert options_of(plans) == ()
