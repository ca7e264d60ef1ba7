"""What is shared is done once, what is there is not done again, a failure is a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConversionError, ModelError, ResourceError
from edgekit.sweeping.jobs import ArtifactRequest, JudgedRows, JudgeRequest
from edgekit.sweeping.rows import read_rows
from edgekit.sweeping.schedule import drive
from edgekit.sweeping.stages import UNKNOWN, SweepPlan, SweepStages

PlanMaker = Callable[[], SweepPlan]


def run(plan: SweepPlan, engine: Any) -> SweepStages:
    stages = SweepStages(plan, engine.slots)
    drive(stages.graph(), stages, engine)
    return stages


def kinds(names: list[str]) -> Counter[str]:
    return Counter(name.partition(" ")[0] for name in names)


def test_a_model_is_captured_once_and_an_artifact_made_once_for_all_devices(plan_of: PlanMaker, engine: Any) -> None:
    made = engine()
    stages = run(plan_of(), made)
    assert kinds(made.done) == {"capture": 2, "make": 4, "judge": 4}
    assert (stages.captured, stages.converted) == (2, 4)
    assert len(read_rows(plan_of().folder)) == 8


def test_an_artifact_is_made_before_it_is_judged(plan_of: PlanMaker, engine: Any) -> None:
    made = engine(slots=1)
    run(plan_of(), made)
    assert [name.partition(" ")[0] for name in made.done] == ["capture"] + ["make"] * 4 + ["judge"] * 4


def test_an_artifact_is_made_for_the_devices_whose_rows_are_missing(plan_of: PlanMaker, engine: Any) -> None:
    plan = plan_of()
    run(replace(plan, points=tuple(point for point in plan.points if point.device == "pi4")), engine())
    again = engine()
    requests: list[Any] = []
    submit = again.submit
    again.submit = lambda work: (requests.append(work.request), submit(work))
    stages = run(plan_of(), again)
    assert {request.devices for request in requests if isinstance(request, ArtifactRequest)} == {("pixel8.toml",)}
    assert [row.device for request in requests if isinstance(request, JudgeRequest) for row in request.rows] == [
        "pixel8"
    ] * 4
    assert {device: (tally.cached, tally.done) for device, tally in stages.tallies.items()} == {
        "pi4": (4, 0),
        "pixel8": (0, 4),
    }


def test_models_share_the_start_of_their_captures_as_far_as_every_slot_has_work(
    plan_of: PlanMaker, engine: Any
) -> None:
    made = engine(slots=1)
    stages = run(plan_of(), made)
    assert [name for name in made.done if name.startswith("capture")] == ["capture of a, b"]
    assert stages.captured == 2


def test_rows_of_many_devices_are_judged_a_few_at_a_time(plan_of: PlanMaker, engine: Any) -> None:
    plan = plan_of()
    names = [f"device{i}" for i in range(20)]
    points = tuple(replace(plan.points[0], device=name) for name in names)
    facts = {("a", name): "facts" for name in names}
    made = engine()
    run(replace(plan, points=points, devices={name: f"{name}.toml" for name in names}, facts=facts), made)
    assert [name.rpartition(", ")[2] for name in made.done if name.startswith("judge")] == ["from row 1", "from row 17"]
    assert len(read_rows(plan.folder)) == 20


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
    assert kinds(again.done)["judge"] == (2 if change == "request" else 4)
    assert len(read_rows(plan.folder)) == 8


@pytest.mark.parametrize("after", range(10))
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
    assert len(judged) == len(set(judged)) == 4
    assert [row.status for row in read_rows(tmp_path)] == ["judged"] * 8


def test_a_model_that_cannot_be_captured_is_a_failure_of_its_rows_alone(plan_of: PlanMaker, engine: Any) -> None:
    made = engine(broken={"a": ModelError("a cannot be read.")})
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
    assert kinds(again.done) == {"capture": 2, "make": 2, "judge": 2}


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
    assert kinds(again.done)["judge"] == (1 if tried_again else 0)


def test_a_judgement_that_crashes_is_a_row(plan_of: PlanMaker, engine: Any) -> None:
    stages = run(plan_of(), engine(fails={"judge": ResourceError("out of memory")}))
    assert {row.message for row in read_rows(plan_of().folder)} == {"out of memory"}
    assert stages.tallies["pi4"].failed == 4
    assert stages.tallies["pi4"].running == 0


def test_rows_that_a_job_wrote_before_it_died_stay(plan_of: PlanMaker, engine: Any) -> None:
    made = engine(fails={"judge a | tflite": ResourceError("out of memory")})
    made.dies_after = 1
    stages = run(plan_of(), made)
    of_it = {
        row.device: row.status for row in read_rows(plan_of().folder) if (row.model, row.format) == ("a", "tflite")
    }
    assert of_it == {"pi4": "judged", "pixel8": "failed"}
    assert (stages.tallies["pi4"].failed, stages.tallies["pixel8"].failed) == (0, 1)


def test_rows_of_a_machine_without_the_folder_are_written_by_the_driver_over_those_that_do_not_stand(
    plan_of: PlanMaker, engine: Any
) -> None:
    run(plan_of(), engine(fails={"judge": ResourceError("out of memory")}))
    away = engine()
    away.writes = False
    run(plan_of(), away)
    assert [row.status for row in read_rows(plan_of().folder)] == ["judged"] * 8


def test_a_failure_to_make_what_is_missing_leaves_the_rows_that_are_there(plan_of: PlanMaker, engine: Any) -> None:
    plan = plan_of()
    run(replace(plan, points=tuple(point for point in plan.points if point.device == "pi4")), engine())
    stages = run(plan_of(), engine(fails={"make": ConversionError("no")}))
    assert {(row.device, row.status) for row in read_rows(plan.folder)} == {("pi4", "judged"), ("pixel8", "failed")}
    assert stages.tallies["pi4"].cached == 4


def test_a_judgement_without_a_row_is_a_fault_of_edgekit_s(plan_of: PlanMaker, engine: Any) -> None:
    made = engine()
    made._value = lambda work: (
        JudgedRows(rows=(), written=True) if work.name.startswith("judge") else type(made)._value(made, work)
    )
    run(plan_of(), made)
    (message,) = {row.message for row in read_rows(plan_of().folder) if row.model == "a" and row.format == "onnx"} - {
        "The judgement of a on pixel8: onnx int8 left no row."
    }
    assert message == "The judgement of a on pi4: onnx int8 left no row."


def test_how_far_a_device_is_is_shown_in_words(plan_of: PlanMaker, engine: Any) -> None:
    shown: list[str] = []
    plan = plan_of()
    stages = SweepStages(plan, 1, lambda device, tally: shown.append(f"{device}: {tally.phrase}"))
    drive(stages.graph(), stages, engine(slots=1))
    assert shown[0] == "pi4: 1 running, 4 left"
    assert shown[-1] == "pixel8: 4 done, 0 left"
