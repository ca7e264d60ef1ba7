"""Sections at their edges: limits of nothing, graphs of nothing, layers without noise."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.checks import Check
from edgekit.html_report.candidates import candidates_section
from edgekit.html_report.costs import costs_section, memory_section
from edgekit.html_report.layers import layers_section
from edgekit.html_report.parts import UNKNOWN, Chart, Section, Sentence, Sources, Table
from edgekit.html_report.stages import stage_blocks
from edgekit.html_report.verdict import budget_section, verdict_section
from edgekit.recipe import Recipe


def entry(*checks: Check, **more: Any) -> dict[str, Any]:
    facts = {
        "runtime": "onnx", "precision": "fp16", "passed": True, "artifact": {"path": "net.onnx"}, "steps": [],
        "notes": [], "float_fallbacks": [], "host": {}, "error": None, "predicted_and_measured": [],
    }  # fmt: skip
    return {**facts, "checks": [check.to_json() for check in checks], **more}


def sources(*formats: dict[str, Any], details: dict[str, Any] | None = None) -> Sources:
    report = {"device": "pi4", "model": None, "formats": list(formats)}
    return Sources(folder="an out", report=report, details=details, lock=None)


def charts(section: Section) -> list[Chart]:
    return [block for block in section.blocks if isinstance(block, Chart)]


@pytest.mark.parametrize(
    ("name", "unit", "value", "limit"),
    [("accuracy_drop", "pp", 0.5, 0.0), ("parity", "dB", -3.0, 20.0), ("size", "bytes", None, 9.0)],
    ids=["a limit of nothing", "less than nothing for at least something", "nothing measured"],
)
def test_what_has_no_share_has_a_row_and_no_bar(name: str, unit: str, value: float | None, limit: float) -> None:
    section = budget_section(sources(entry(Check(name=name, verdict="fail", value=value, limit=limit, unit=unit))))
    assert charts(section) == []
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]][1] == "fail"


def test_a_gain_in_accuracy_uses_nothing_of_its_budget() -> None:
    check = Check(name="accuracy_drop", verdict="pass", value=-0.5, low=-1.0, high=0.2, limit=1.0, unit="pp")
    (chart,) = charts(budget_section(sources(entry(check))))
    bar = chart.model.renderers[0].data_source.data
    assert (bar["used"], bar["low"], bar["high"]) == ([0.0], [0.0], [20.0])


def test_a_minimum_is_used_up_the_nearer_the_figure_comes_to_it() -> None:
    check = Check(name="parity", verdict="pass", value=40.0, limit=20.0, unit="dB")
    (chart,) = charts(budget_section(sources(entry(check))))
    assert chart.model.renderers[0].data_source.data["used"] == [50.0]


def test_a_host_s_timing_is_said_to_be_the_host_s() -> None:
    check = Check(name="latency", verdict="not_run", limit=50.0, unit="ms", detail="Not measured. More.")
    table = verdict_section(sources(entry(check, host={"median_ms": 3.0}))).blocks[0]
    assert isinstance(table, Table)
    assert table.rows[0][-1].text == "not measured; this host 3 ms"


def test_a_graph_without_operators_has_no_charts() -> None:
    memory = {"alive_bytes": [], "peak_bytes": 0, "arena_bytes": 0, "peak_operator": "", "peak_tensors": []}
    costs = {"runtime": "onnx", "precision": "fp16", "precisions": [], "stored_bytes": [], "predicted_ms": []}
    empty = {"plans": [], "operators": [], "formats": [{**costs, "memory": memory}]}
    for section in (memory_section(sources(details=empty)), costs_section(sources(details=empty))):
        assert charts(section) == []


def test_layers_without_noise_are_drawn_as_nothing() -> None:
    loss = {"module": "a", "precision": "int8_static", "noise": 0.0, "points": None}
    plan = {"recipe": Recipe().to_json(), "runtime": "onnx", "sensitivity": [loss]}
    section = layers_section(sources(details={"plans": [plan]}))
    (chart,) = charts(section)
    assert (chart.model.y_range.end, chart.words) == (1.0, "Most noise: a 0.0 %.")
    table = section.blocks[-1]
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]][3:] == ["0.00 %", "no noise", UNKNOWN]


def test_candidates_without_a_size_have_a_table_and_no_chart() -> None:
    plan = {
        "runtime": "onnx", "recipe": Recipe().to_json(), "steps": [], "predictions": [], "reasons": [], "limits": [],
        "runners_up": [], "rejected": [], "effort": "thorough",
    }  # fmt: skip
    section = candidates_section(sources(details={"plans": [plan]}))
    assert charts(section) == []
    assert section.blocks[0] == Sentence(text="Planned with --effort thorough.")


def test_commands_can_be_copied_whatever_the_folder_is_called() -> None:
    block = candidates_section(sources()).blocks[0]
    assert isinstance(block, Sentence)
    assert block.command == "edgekit export --device pi4 -o 'an out'"


def test_stages_have_a_table_and_what_it_says() -> None:
    stage = {
        "name": "equalize", "kind": "technique", "parameters": 4_650_000, "macs": 386_000_000, "size_bytes": 18_600_000,
        "download_bytes": None, "size_basis": "predicted as float32 onnx", "value": 70.123, "drop": 0.5, "low": 0.1,
        "high": 0.9, "parity_db": None, "seconds": 61.0, "cached": True, "reason": "",
    }  # fmt: skip
    entry = {"metric": "top1", "stages": [stage], "sentence": "equalize cost the most.", "warning": "other way round"}
    made = Sources(folder="out", report={"stages": [entry]}, details=None, lock=None)
    table, sentence, warning = stage_blocks(made)
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == [
        "equalize", "4.65 M", "386 M", "18.6 MB", UNKNOWN, "predicted as float32 onnx", "70.12", "0.50 pp",
        "0.10 pp to 0.90 pp", UNKNOWN, "61 s (from the cache)",
    ]  # fmt: skip
    assert sentence == Sentence(text="equalize cost the most.")
    assert warning == Sentence(text="other way round", status="remark")
    assert list(stage_blocks(sources())) == []
