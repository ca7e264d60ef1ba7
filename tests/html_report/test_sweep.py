"""A sweep's page: the choices among its rows, and a page of a thousand of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.budget import Limit
from edgekit.checks import Check, judge
from edgekit.html_report.parts import Chart, Section, Sentence, Table
from edgekit.html_report.sweep import sweep_sections
from edgekit.html_report.sweep_fronts import budgets_section, fronts_section, shared_section
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.sweeping.schedule import Driven

LIMITS = {"size": 100.0, "latency": 50.0, "accuracy_drop": 1.0}


def row(
    point: str, model: str, device: str, size: float, latency: float | None, drop: float, artifact: str = ""
) -> Row:
    values = {"size": size, "latency": latency, "accuracy_drop": drop}
    checks: Sequence[Check] = [
        judge(name, value, Limit(name=name, value=LIMITS[name], source="profile"), runtime="onnx")
        for name, value in values.items()
        if value is not None
    ]
    return Row(
        point=point, digest="d", model=model, device=device, format="onnx", precision="int8", pipeline="",
        effort="quick", status="judged", made="int8-static", checks=tuple(checks), artifact_sha256=artifact or point,
        seconds=1.0, finished=1.0,
    )  # fmt: skip


def result(*rows: Row) -> SweepResult:
    keys = tuple(one.point for one in rows)
    return SweepResult(folder=Path("out"), keys=keys, rows=rows, driven=Driven(started=0, left=0))


@pytest.fixture
def few() -> SweepResult:
    """On pi4 a fast one, a small one, one that both beat, and two that fail; on pixel8 the small one passes too."""
    return result(
        row("fast", "net", "pi4", 90, 10, 0.5),
        row("small", "net", "pi4", 20, 30, 0.5, "small"),
        row("beaten", "net", "pi4", 95, 35, 0.6),
        row("large", "net", "pi4", 200, 5, 0.1),
        row("bad", "net", "pi4", 200, 60, 0.1),
        row("there", "net", "pixel8", 20, 5, 0.5, "small"),
    )


def texts(section: Section) -> list[list[str]]:
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    return [[cell.text for cell in cells] for cells in table.rows]


def test_the_front_is_what_passes_and_nothing_beats(few: SweepResult) -> None:
    assert [one.point for one in few.front("net", "pi4")] == ["fast", "small"]
    assert few.front("net", "nowhere") == ()


def test_what_has_no_latency_is_beaten_by_what_has_one() -> None:
    found = result(row("known", "net", "pi4", 20, 10, 0.5), row("unknown", "net", "pi4", 20, None, 0.5))
    assert [one.point for one in found.front("net", "pi4")] == ["known"]


def test_a_row_says_what_fails_and_what_is_inconclusive(few: SweepResult) -> None:
    limit = Limit(name="accuracy_drop", value=1.0, source="profile")
    unsure = judge("accuracy_drop", 0.5, limit, runtime="onnx", low=0.0, high=2.0)
    rows = replace(few.rows[0], checks=(unsure,)), few.rows[1], few.rows[4]
    (section,) = [one for one in sweep_sections(result(*rows)) if one.name == "rows"]
    assert [cells[-1] for cells in texts(section)] == ["accuracy_drop inconclusive", "", "size fail, latency fail"]


def test_one_artifact_serves_most_devices(few: SweepResult) -> None:
    assert [one.device for one in few.shared("net")] == ["pi4", "pixel8"]
    (cells,) = texts(shared_section(few))
    assert cells == ["net", "onnx", "int8-static", "", "2 of 2", "pi4, pixel8", "small"]


def test_where_nothing_passes_no_artifact_serves() -> None:
    (cells,) = texts(shared_section(result(row("bad", "net", "pi4", 200, 60, 0.1))))
    assert cells[:2] == ["net", "no artifact passes anywhere"]


def test_a_budget_is_counted_with_what_it_excludes_alone(few: SweepResult) -> None:
    assert texts(budgets_section(few)) == [["pi4", "latency", "5", "1", "0"], ["pi4", "size", "5", "2", "1"]]


def test_no_budget_that_excludes_anything_is_a_sentence() -> None:
    section = budgets_section(result(row("fast", "net", "pi4", 90, 10, 0.5)))
    assert section.blocks[-1] == Sentence(text="No check excludes anything.", status="pass")


def test_each_device_has_its_front_or_a_reason(few: SweepResult) -> None:
    pytest.importorskip("bokeh")
    more = result(*few.rows, row("x", "net", "watch", 200, 60, 0.1), row("y", "net", "xeon", 20, None, 0.1))
    first, *blocks = fronts_section(more).blocks
    assert isinstance(first, Sentence)
    charts = [block for block in blocks if isinstance(block, Chart)]
    assert [chart.title for chart in charts] == ["pi4: 3 combinations that pass", "pixel8: 1 combinations that pass"]
    assert "On a Pareto front: net onnx int8-static, net onnx int8-static." in charts[0].words
    assert [block for block in blocks if isinstance(block, Sentence)] == [
        Sentence(text="watch: nothing passes there.", status="fail"),
        Sentence(text="xeon: no latency is known for what passes there.", status="not_run"),
    ]
