"""A sweep's baseline: set, shown, and held against later sweeps, row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.errors import ArtifactError, ConversionError, ResourceError, UsageError
from edgekit.sweeping.baseline import read_sweep_baseline, write_sweep_baseline
from edgekit.sweeping.gate import run_sweep_gate
from edgekit.sweeping.jobs import failed_row
from edgekit.sweeping.request import read_sweep
from edgekit.sweeping.rows import Row, write_row
from edgekit.workers.atomic_files import write_json

Sweep = Callable[..., Path]


def row(model: str, size: float, *, latency: float = 10.0, limit: float = 1e4) -> Row:
    checks = (
        judge("size", size, Limit(name="size", value=limit, source="profile"), measured_on="file", runtime="onnx"),
        judge("latency", latency, None, basis="predicted", measured_on="pi4", runtime="onnx"),
    )
    return Row(
        point=model, digest=f"{size:.0f}", model=model, device="pi4", format="onnx", precision="int8", pipeline="",
        effort="quick", status="judged", made="int8-static", checks=checks, artifact_sha256=f"{int(size):064x}",
    )  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Returns what writes a sweep of rows into `out` of the working folder."""
    monkeypatch.chdir(tmp_path)
    axes = {"device": "pi4", "format": "onnx", "precision": "int8", "technique": "", "effort": "quick"}

    def write(*rows: Row, missing: tuple[str, ...] = ()) -> Path:
        out = Path("out")
        for old in out.glob("rows/*"):
            old.unlink()
        for one in rows:
            write_row(out, one)
        points = {name: {"model": name, **axes} for name in (*(one.point for one in rows), *missing)}
        write_json(out / "sweep.json", {"schema_version": 1, "command": "sweep", "points": points, "omitted": []})
        return out

    return write


def test_a_row_that_grew_more_than_its_limit_fails_the_gate(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(row("a", 1000), row("b", 1000))
    assert main(["baseline", "set", "out"]) == 0
    assert capsys.readouterr().out.startswith("edgekit-sweep-baseline.json: 2 rows, 2 pass\n")
    sweep(row("a", 1100), row("b", 1000))
    assert main(["gate", "out", "--max-regression", "size +20 %"]) == 0
    assert main(["gate", "out"]) == 0
    capsys.readouterr()
    assert main(["gate", "out", "--max-regression", "size +5 %", "--junit", "j.xml", "--sarif", "s.json"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "changed: a on pi4: onnx int8: pass -> fail, size 1 kB -> 1.1 kB",
        (
            "fail: a on pi4: onnx int8: size_change: size change +10 % exceeds +5 % by 5.00 pp "
            "(limit from --max-regression)"
        ),
        "fail: 1 of 2 combinations of out",
    ]
    assert "size_change" in Path("j.xml").read_text()
    assert "edgekit/size_change" in Path("s.json").read_text()


def test_predicted_latencies_are_compared_as_predicted(sweep: Sweep) -> None:
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), Path("edgekit-sweep-baseline.json"))
    gate = run_sweep_gate(sweep(row("a", 1001, latency=12.0)), ["latency +10 %"])
    (check,) = [check for check in gate.checks if check.name == "latency_change"]
    assert (check.verdict, check.value) == ("fail", 20.0)


def test_the_task_file_s_limits_on_changes_hold_for_a_sweep(sweep: Sweep) -> None:
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), Path("edgekit-sweep-baseline.json"))
    Path("edgekit.toml").write_text('[model]\nsource = "a.onnx"\n[regression]\nsize = "+5 %"\n')
    assert not run_sweep_gate(sweep(row("a", 1100))).passed()
    assert run_sweep_gate(Path("out"), ["size +20 %"]).passed()


def test_a_row_without_a_baseline_warns_and_fails_where_that_is_required(sweep: Sweep) -> None:
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), Path("edgekit-sweep-baseline.json"))
    out = sweep(row("a", 1000), row("new", 1000))
    assert run_sweep_gate(out, ["size +5 %"]).passed()
    assert not run_sweep_gate(out, ["size +5 %"], fail_on_missing=True).passed()
    assert [change.title for change in run_sweep_gate(out).changes] == ["new on pi4: onnx int8"]


def test_a_gate_that_requires_a_baseline_fails_without_one(sweep: Sweep) -> None:
    message = (
        "There is no baseline and --fail-on-missing-baseline was given. "
        "Set one with: edgekit baseline set DIR, or name its file with --baseline."
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        run_sweep_gate(sweep(row("a", 1000)), fail_on_missing=True)


def test_a_row_that_the_matrix_has_no_more_is_shown(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep_baseline(read_sweep(sweep(row("a", 1000), row("b", 1000))), Path("edgekit-sweep-baseline.json"))
    sweep(row("a", 1000))
    assert main(["gate", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "gone: b on pi4: onnx int8",
        "not measured: b on pi4: onnx int8: gone: the baseline has it and the sweep's matrix has it no more",
        "pass: 1 of 1 combinations of out",
    ]


def test_a_baseline_gets_worse_with_a_reason_only(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    base = Path("base.json")
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), base)
    worse = read_sweep(sweep(row("a", 1100)))
    message = (
        "a on pi4: onnx int8: The baseline base.json gets worse: onnx int8-static size from 1 kB to 1.1 kB. "
        'Say why, for those who read it: --reason "..."'
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        write_sweep_baseline(worse, base)
    made = write_sweep_baseline(worse, base, reason="a wider head")
    assert made.rows["a"].baseline.history[0].reason == "a wider head"
    assert main(["baseline", "show", "base.json"]) == 0
    out = capsys.readouterr().out
    assert "onnx int8-static, size over time" in out
    assert "a wider head" in out
    assert main(["baseline", "show", "base.json", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"]["a"]["formats"][0]["figures"][0]["value"] == 1100


def test_a_row_that_fails_now_gets_into_the_baseline_with_a_reason_only(sweep: Sweep) -> None:
    base = Path("base.json")
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), base)
    message = (
        "a on pi4: onnx int8 passes in the baseline base.json and fails now. "
        'Say why, for those who read it: --reason "..."'
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        write_sweep_baseline(read_sweep(sweep(failed_row(row("a", 1000), ConversionError("no")))), base)


def test_an_unfinished_sweep_is_no_baseline(sweep: Sweep) -> None:
    message = "out has no row yet for 1 of 2 combinations. A baseline needs all of them: run edgekit sweep again."
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        write_sweep_baseline(read_sweep(sweep(row("a", 1000), missing=("b",))), Path("base.json"))


def test_a_baseline_that_cannot_be_written_is_refused(sweep: Sweep) -> None:
    result = read_sweep(sweep(row("a", 1000)))
    message = "The baseline out/sweep.json/x cannot be written: File exists. Name another file with --output."
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        write_sweep_baseline(result, Path("out/sweep.json/x"))


def test_a_sweep_keeps_no_artifacts_for_its_baseline(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(row("a", 1000))
    assert main(["baseline", "set", "out", "--keep-artifacts"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: --keep-artifacts has no effect on the sweep out, which keeps no artifacts. Leave it out.\n"
    )


def test_an_export_s_baseline_is_no_sweep_s(sweep: Sweep) -> None:
    sweep(row("a", 1000))
    write_json(Path("edgekit-baseline.json"), {"schema_version": 1, "formats": []})
    with pytest.raises(ArtifactError, match="command"):
        read_sweep_baseline(Path("edgekit-baseline.json"))


def test_figures_of_a_row_s_report_come_before_its_checks(sweep: Sweep) -> None:
    entry: dict[str, Any] = {
        "runtime": "onnx", "precision": "int8-static", "host": {"runtime": "onnxruntime 1"},
        "artifact": {"sha256": "0" * 64, "path": "net.onnx"}, "checks": [row("a", 77).checks[0].to_json()],
    }  # fmt: skip
    report = {"device": "pi4", "model": None, "data": {"metric": "top1"}, "formats": [entry]}
    made = write_sweep_baseline(
        read_sweep(sweep(replace(row("a", 1000), report=json.dumps(report)))), Path("base.json")
    )
    (record,) = made.rows["a"].baseline.formats
    assert (record.ran_by, [x.value for x in record.figures]) == ("onnxruntime 1", [77])


def test_the_gate_of_a_sweep_in_python(sweep: Sweep) -> None:
    write_sweep_baseline(read_sweep(sweep(row("a", 1000))), Path("edgekit-sweep-baseline.json"))
    out = sweep(row("a", 1100))
    assert edgekit.gate(out).passed
    found = edgekit.gate(out, max_regression="size +5 %")
    assert not found.passed
    assert found.headline() == "gate of out for pi4"
    data = found.to_json()
    assert (data["command"], data["baseline"]) == ("gate", "edgekit-sweep-baseline.json")
    assert data["changes"][0]["moves"] == [{"name": "size", "unit": "bytes", "old": 1000, "new": 1100}]
    message = (
        "device has no effect on the sweep out, whose rows are judged already. "
        "Leave it out; limits are those of edgekit sweep, which takes them as flags."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        edgekit.gate(out, device="pi4")


def test_a_sweep_with_failures_in_python(sweep: Sweep) -> None:
    found = edgekit.gate(sweep(failed_row(row("a", 1000), ConversionError("no")), missing=("b",)))
    assert list(found.failures()) == [
        "a on pi4: onnx int8: no",
        "1 of 2 combinations have no row yet: run edgekit sweep again",
    ]
