"""What is shared is done once, what is there is not done again, a failure is a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConversionError, ModelError, ResourceError
from edgekit.sweeping.rows import read_rows
from edgekit.sweeping.schedule import drive
from edgekit.sweeping.stages import UNKNOWN, SweepPlan, SweepStages, graph

PlanMaker = Callable[[], SweepPlan]


def run(plan: SweepPlan, engine: Any) -> SweepStages:
    stages = SweepStages(plan)
    drive(graph(plan), stages, engine)
    return stages


def kinds(names: list[str]) -> Counter[str]:
    return Counter(name.partition(" ")[0] for name in names)


def test_a_model_is_captured_once_and_an_artifact_made_once_for_all_devices(plan_of: PlanMaker, engine: Any) -> None:
    made = engine()
    stages = run(plan_of(), made)
    assert kinds(made.done) == {"capture": 2, "make": 4, "judge": 8}
    assert (stages.captured, stages.converted) == (2, 4)
    assert len(read_rows(plan_of().folder)) == 8


def test_an_artifact_is_made_before_it_is_judged(plan_of: PlanMaker, engine: Any) -> None:
    made = engine(slots=1)
    run(plan_of(), made)
    assert [name.partition(" ")[0] for name in made.done] == ["capture"] * 2 + ["make"] * 4 + ["judge"] * 8


def test_an_artifact_is_made_for_the_devices_whose_rows_are_missing(plan_of: PlanMaker, engine: Any) -> None:
    plan = plan_of()
    run(replace(plan, points=tuple(point for point in plan.points if point.device == "pi4")), engine())
    stages = SweepStages(plan_of())
    inputs = engine()._value(type("Named", (), {"name": "capture a"}))
    work = stages.prepare("make a | tflite | int8 |  | quick", {"capture a": inputs})
    assert work.request.devices == ("pixel8.toml",)


def test_a_second_run_captures_and_judges_nothing_again(plan_of: PlanMaker, engine: Any) -> None:
    run(plan_of(), engine())
    again = engine()
    stages = run(plan_of(), again)
    assert kinds(again.done) == {"capture": 2}
    assert {device: tally.cached for device, tally in stages.tallies.items()} == {"pi4": 4, "pixel8": 4}


@pytest.mark.parametrize("change", ["model", "code", "request"])
def test_what_a_row_depends_on_makes_it_anew(plan_of: PlanMaker, engine: Any, change: str) -> None:
    run(plan_of(), engine())
    plan = plan_of()
    if change == "code":
        plan = replace(plan, code="other")
    if change == "request":
        plan = replace(plan, facts={**plan.facts, ("a", "pi4"): "another limit"})
    again = engine(digest="e" if change == "model" else "d")
    run(plan, again)
    assert kinds(again.done)["judge"] == (2 if change == "request" else 8)
    assert len(read_rows(plan.folder)) == 8


@pytest.mark.parametrize("after", range(14))
def test_what_was_interrupted_goes_on_and_judges_nothing_twice(
    plan_of: PlanMaker, engine: Any, after: int, tmp_path: Path
) -> None:
    first = engine()
    first.interrupt_after = after
    with pytest.raises(KeyboardInterrupt):
        run(plan_of(), first)
    second = engine()
    run(plan_of(), second)
    judged = [name for name in (*first.done, *second.done) if name.startswith("judge")]
    assert len(judged) == len(set(judged)) == 8
    assert [row.status for row in read_rows(tmp_path)] == ["judged"] * 8


def test_a_model_that_cannot_be_captured_is_a_failure_of_its_rows_alone(plan_of: PlanMaker, engine: Any) -> None:
    made = engine(fails={"capture a": ModelError("a cannot be read.")})
    stages = run(plan_of(), made)
    rows = read_rows(plan_of().folder)
    assert {(row.model, row.status, row.message) for row in rows} == {
        ("a", "failed", "a cannot be read."),
        ("b", "judged", ""),
    }
    assert {row.digest for row in rows if row.model == "a"} == {UNKNOWN}
    assert {device: (tally.done, tally.failed) for device, tally in stages.tallies.items()} == {
        "pi4": (2, 2),
        "pixel8": (2, 2),
    }
    again = engine()
    run(plan_of(), again)
    assert kinds(again.done) == {"capture": 2, "make": 2, "judge": 4}


@pytest.mark.parametrize(
    ("error", "tried_again"), [(ConversionError("no"), False), (ResourceError("no"), True)], ids=["input", "machine"]
)
def test_a_failure_of_the_machine_is_tried_again_and_another_is_not(
    plan_of: PlanMaker, engine: Any, error: Any, tried_again: bool
) -> None:
    run(plan_of(), engine(fails={"make a | onnx": error}))
    failed = [row for row in read_rows(plan_of().folder) if row.status == "failed"]
    assert [(row.model, row.format, row.error, row.exit_code) for row in failed] == [
        ("a", "onnx", type(error).__name__, error.exit_code)
    ] * 2
    again = engine()
    run(plan_of(), again)
    assert kinds(again.done)["judge"] == (2 if tried_again else 0)


def test_a_judgement_that_crashes_is_a_row(plan_of: PlanMaker, engine: Any) -> None:
    stages = run(plan_of(), engine(fails={"judge": ResourceError("out of memory")}))
    assert {row.message for row in read_rows(plan_of().folder)} == {"out of memory"}
    assert stages.tallies["pi4"].failed == 4
    assert stages.tallies["pi4"].running == 0


def test_how_far_a_device_is_is_shown_in_words(plan_of: PlanMaker, engine: Any) -> None:
    shown: list[str] = []
    plan = plan_of()
    stages = SweepStages(plan, lambda device, tally: shown.append(f"{device}: {tally.phrase}"))
    drive(graph(plan), stages, engine(slots=1))
    assert shown[0] == "pi4: 1 running, 4 left"
    assert shown[-1] == "pixel8: 4 done, 0 left"
