"""`edgekit sweep`, and what gate and report make of its folder."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.errors import ConversionError
from edgekit.sweeping.jobs import failed_row
from edgekit.sweeping.matrix import expand
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, sweep_json
from edgekit.sweeping.rows import row_of, write_row
from edgekit.workers.atomic_files import write_json

MATRIX = 'models = ["a.onnx", "b.onnx"]\ndevices = ["pi4", "pixel8"]\nformats = ["tflite"]\nprecisions = ["int8"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep: a passes on both devices, b fails on pi4 and cannot be made for pixel8."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    out = tmp_path / "out"
    out.mkdir()
    matrix = expand(SweepRequest.read(Path("matrix.toml"), SweepFlags(), out, {}).axes)
    write_json(out / "sweep.json", sweep_json(matrix))
    for point in matrix.points:
        size = 5e6 if point.model.name == "a.onnx" else 2e7
        check = judge("size", size, Limit(name="size", value=1e7, source="profile"), runtime="tflite")
        row = row_of(point, "d", status="judged", made="int8-static", checks=(check,), seconds=1.0)
        if (point.model.name, point.device) == ("b.onnx", "pixel8"):
            row = failed_row(row, ConversionError("b.onnx cannot be converted.\nThe end of its log."))
        write_row(out, row)
    return out


@pytest.fixture
def passing(folder: Path) -> Path:
    """The rows of a alone."""
    matrix = expand(SweepRequest.read(Path("matrix.toml"), SweepFlags(models=("a.onnx",)), folder, {}).axes)
    write_json(folder / "sweep.json", sweep_json(matrix))
    return folder


def test_a_dry_run_prints_the_matrix_and_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (next((folder / "rows").iterdir())).unlink()
    assert main(["sweep", "matrix.toml", "-o", "out", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("there\n") == 3
    assert out.endswith("\n4 combinations, 3 with a row in out\n")


def test_a_dry_run_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "-d", "pi4", "-m", "a.onnx", "-f", "tflite,coreml", "--dry-run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [item["format"] for item in data["combinations"]] == ["tflite"]
    assert data["combinations"][0]["has_row"] is False
    assert data["omitted"] == [{"title": "coreml on pi4", "reason": "pi4 does not run it"}]


def test_rows_are_shown_by_a_condition(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", "out", "--where", "device = 'pi4' and passed"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^a\.onnx +pi4 +tflite +int8 +pass +5 MB\s*$", out, re.MULTILINE)
    assert out.endswith("1 rows\n")


def test_seconds_are_shown_to_the_hundredth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", "out", "--where", "model = 'a.onnx'", "--columns", "device,seconds"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown == [["device", "seconds"], ["pi4", "1.00"], ["pixel8", "1.00"], ["2", "rows"]]


def test_rows_are_shown_in_json_with_columns_of_choice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", "out", "--where", "not passed", "--columns", "model, device, error", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"] == [
        {"model": "b.onnx", "device": "pi4", "error": ""},
        {"model": "b.onnx", "device": "pixel8", "error": "ConversionError"},
    ]


def test_a_sweep_is_compared_with_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", "out", "--against", "out"]) == 0
    assert capsys.readouterr().out.endswith("0 rows\n")


def test_columns_and_against_do_not_go_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", "out", "--against", "out", "--columns", "model"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: --columns has no effect with --against, which shows what has changed. Leave one of them out.\n"
    )


def test_rows_are_compacted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "compact", "out"]) == 0
    assert capsys.readouterr().out == "4 rows are in out/rows.parquet\n"
    assert main(["sweep", "compact", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "show", str(tmp_path)]) == 2
    assert "holds no sweep: sweep.json is not there. Run edgekit sweep first." in capsys.readouterr().err


def test_the_gate_of_a_sweep_fails_where_a_row_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "out", "--junit", "junit.xml", "--sarif", "sarif.json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "fail: b.onnx on pi4: tflite int8: size: size 20 MB exceeds 10 MB by 10 MB (limit from profile)",
        "fail: b.onnx on pixel8: tflite int8: conversion: b.onnx cannot be converted",
        "fail: 2 of 4 combinations of out",
    ]
    root = ET.parse("junit.xml").getroot()
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "4", "failures": "1", "errors": "1",
    }  # fmt: skip
    assert [suite.get("name") for suite in root][:1] == ["a.onnx on pi4: tflite int8"]
    (run,) = json.loads(Path("sarif.json").read_text())["runs"]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"edgekit/size", "edgekit/conversion"}
    assert run["invocations"][0]["exitCode"] == 1


def test_the_gate_of_a_sweep_passes_where_every_row_does(passing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "out", "--strict", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["command"], data["passed"], data["missing"]) == ("gate", True, 0)


def test_the_gate_of_a_sweep_fails_where_a_row_is_missing(passing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in (passing / "rows").iterdir():
        part.unlink()
    assert main(["gate", "out"]) == 1
    assert "2 of 2 combinations have no row yet: run edgekit sweep again" in capsys.readouterr().out


def test_the_gate_of_a_sweep_annotates_pull_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "edgekit.toml").write_text('[model]\nsource = "a.onnx"\n')
    assert main(["gate", "out", "--github"]) == 1
    assert sum(line.startswith("::error") for line in capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "flag"),
    [(["--max-size", "1 MB"], "--max-size"), (["-d", "pi4"], "--device"), (["--why"], "--why")],
    ids=["limit", "device", "why"],
)
def test_flags_without_effect_on_a_sweep_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], flag: str
) -> None:
    assert main(["gate", "out", *words]) == 2
    assert capsys.readouterr().err == (
        f"edgekit: {flag} has no effect on the sweep out, whose rows are judged already. "
        "Leave it out; limits are those of edgekit sweep, which takes them as flags.\n"
    )


def test_one_page_shows_the_verdicts_and_the_best_choices(folder: Path) -> None:
    assert main(["report", "out", "-q"]) == 0
    page = (folder / "report.html").read_text()
    body = page[page.index("<body>") : page.index("</main>")]
    assert "2 models on 2 devices" in body
    assert body.count(">pass: 1 of 1<") == 2
    assert body.count(">fail: 0 of 1<") == 2
    assert body.count(">none passes<") == 2
    assert "b.onnx cannot be converted." in body
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", body)


def test_names_of_models_are_no_markup(folder: Path) -> None:
    from dataclasses import replace

    from edgekit.html_report.page import sweep_page
    from edgekit.sweeping.request import read_sweep

    result = read_sweep(folder)
    rows = tuple(replace(row, model="<script>alert(1)</script>") for row in result.rows)
    assert "<script>alert(1)" not in sweep_page(replace(result, rows=rows))
