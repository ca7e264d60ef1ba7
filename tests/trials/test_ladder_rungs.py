"""The rule by which a climb down the ladder ends, and what is recommended: injected rungs, nothing is run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.errors import ConversionError, WorkerError
from edgekit.model import CapturedModel
from edgekit.planner.cliff import LayerShare
from edgekit.recipe import Candidate, Recipe
from edgekit.trials.ladder_rungs import RUNGS, Cliff, Ladder, Rung, climb

LIMIT = Limit(name="accuracy_drop", value=1.0, source="profile")
SIZE = Limit(name="size", value=500.0, source="profile")
CANDIDATE = Candidate(runtime="onnx", recipe=Recipe(default="int8_static"))
DROPS = {"pass": 0.1, "inconclusive": 0.9, "fail": 3.0, "not_run": None}


def rung(name, verdict, *, size=100.0):
    value = DROPS[verdict]
    band = {} if value is None else {"low": value - 0.05, "high": value + 0.3}
    return Rung(
        name=name,
        candidate=CANDIDATE,
        checks=(judge("size", size, SIZE, measured_on="file"), judge("accuracy_drop", value, LIMIT, **band)),
    )


def ladder(*rungs, strict=False, **more):
    model = CapturedModel(
        name="net", source="net.onnx", source_kind="onnx", kind="onnx", path=Path("float.onnx"), inputs=(), outputs=(),
        digest="d", parameters=1, macs=1, family="mlp",
    )  # fmt: skip
    request = SimpleNamespace(
        strict=strict, model=model, profile=SimpleNamespace(name="pi4"), runtime="onnx", techniques=()
    )
    return Ladder(request=request, limit=LIMIT, rungs=rungs, **more)


@given(verdicts=st.lists(st.sampled_from([*DROPS, "skipped", "failed"]), min_size=3, max_size=3), strict=st.booleans())
def test_the_climb_ends_at_the_first_rung_whose_drop_breaks_its_limit(verdicts, strict):
    by_name = dict(zip(RUNGS, verdicts, strict=True))
    visited = []

    def visit(name):
        visited.append(name)
        if by_name[name] == "skipped":
            return Rung(name=name, candidate=CANDIDATE, skipped="no kernels")
        if by_name[name] == "failed":
            return Rung(name=name, candidate=CANDIDATE, error=ConversionError("no"))
        return rung(name, by_name[name])

    breaking = {"fail", "not_run"} | ({"inconclusive"} if strict else set())
    expected = next((i + 1 for i, verdict in enumerate(verdicts) if verdict in breaking), 3)
    rungs = climb(RUNGS, visit, strict=strict)
    assert visited == list(RUNGS[:expected])
    assert [item.name for item in rungs] == visited
    assert [item.falls(strict=strict) for item in rungs[:-1]] == [False] * (expected - 1)


def test_an_unsure_drop_is_reported_and_passes_unless_strict():
    unsure = rung("int8", "inconclusive")
    assert (unsure.falls(), unsure.keeps()) == (False, True)
    assert (unsure.falls(strict=True), unsure.keeps(strict=True)) == (True, False)


def test_the_smallest_rung_that_keeps_the_budget_is_recommended():
    made = ladder(rung("fp16", "pass", size=400), rung("int8", "pass", size=200), rung("int4", "fail", size=100))
    assert (made.chosen.name, made.exit_code) == ("int8", 0)


def test_of_equal_sizes_the_higher_precision_is_recommended():
    assert ladder(rung("fp16", "pass"), rung("int8", "pass")).chosen.name == "fp16"


def test_what_is_unsure_and_beyond_the_limit_comes_behind_what_is_inside():
    beyond = judge("accuracy_drop", 1.2, LIMIT, low=0.5, high=2.0)
    unsure = Rung(name="int8", candidate=CANDIDATE, checks=(judge("size", 50.0, SIZE), beyond))
    made = ladder(rung("fp16", "pass"), unsure)
    assert (made.chosen.name, [item.name for item in made.smaller_but_inconclusive]) == ("fp16", ["int8"])
    assert ladder(unsure).chosen.name == "int8"


def test_a_rung_that_breaks_another_limit_is_not_recommended():
    made = ladder(rung("fp16", "pass", size=900), rung("int8", "fail", size=200))
    assert (made.chosen, made.exit_code) == (None, 1)


@pytest.mark.parametrize(
    ("errors", "code"),
    [([ConversionError("a"), WorkerError("b")], 3), ([ConversionError("a")], 2)],
    ids=["the machine", "the input"],
)
def test_where_nothing_could_be_measured_the_worst_error_decides(errors, code):
    rungs = [Rung(name="int8", candidate=CANDIDATE, error=error) for error in errors]
    assert ladder(*rungs).exit_code == code


def test_the_json_names_rungs_cliff_and_what_is_simulated():
    cliff = Cliff(
        rung="int8", precision="int8_static", kept=("a",), kept_precision="fp32",
        layers=(LayerShare(module="a", noise=0.9, share=0.9), LayerShare(module="b", noise=0.1, share=0.1)),
    )  # fmt: skip
    data = ladder(rung("fp16", "pass"), rung("int8", "fail"), left=("int4",), cliff=cliff).to_json()
    assert (data["schema_version"], data["command"], data["device"], data["passed"]) == (1, "ladder", "pi4", True)
    assert [(x["name"], x["measured"], x["passed"]) for x in data["rungs"]] == [
        ("fp16", True, True),
        ("int8", True, False),
    ]
    assert data["limit"] == {"name": "accuracy_drop", "value": 1.0, "unit": "pp", "source": "profile"}
    assert (data["not_tried"], data["chosen"]) == (["int4"], "fp16")
    assert (data["cliff"]["worst"], data["cliff"]["kept"]) == (["a"], ["a"])
    assert data["cliff"]["basis"].startswith("simulated")
