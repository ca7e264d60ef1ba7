"""Edits of report.json and edgekit.lock, each by itself: none may pass, and none may end in a traceback."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import EVERY_CHECK, RECIPE_SOURCE, Budget, Limit
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.errors import ArtifactError, ConversionError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_check import figures_digest
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport
from edgekit.gating.gate import gate_folder
from edgekit.model import CapturedModel
from edgekit.recipe import Recipe, Step

Edit = Callable[[Any], object]


def recipe_limit(name: str, value: float) -> Limit:
    return Limit(name=name, value=value, source=RECIPE_SOURCE)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of one artifact that ignored a setting, is half in floats and lost 3 points; a second format failed."""
    folder = tmp_path_factory.mktemp("out")
    path = folder / "net-int8-static.tflite"
    path.write_bytes(bytes(6144))
    size, download, digest = measure_files(path)
    artifact = Artifact(
        path=path,
        runtime="tflite",
        precision="int8-static",
        size_bytes=size,
        download_bytes=download,
        sha256=digest,
    )
    checks = (
        judge("size", float(size), None, runtime="tflite", measured_on="file"),
        judge("download", float(download), None, runtime="tflite", measured_on="file"),
        judge("memory", 5e6, None, runtime="tflite"),
        judge("latency", 40.0, None, low=30.0, high=50.0, basis="predicted", runtime="tflite"),
        judge("accuracy_drop", 3.0, None, low=2.0, high=4.0, runtime="tflite"),
        judge("slice_drop", float("nan"), None, runtime="tflite"),
        judge("parity", 20.0, None, runtime="tflite"),
        judge("integer_coverage", 50.0, recipe_limit("integer_coverage", 100.0), runtime="tflite"),
        judge("ignored_settings", 1.0, recipe_limit("ignored_settings", 0.0), runtime="tflite"),
    )
    steps = (Step(technique="quantize_static"),)
    results = (
        FormatResult(
            runtime="tflite", recipe=Recipe(default="int8_static"), steps=steps, artifact=artifact, checks=checks
        ),
        FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("no kernel for aten.fft")),
    )
    model = CapturedModel(
        name="net",
        source="net.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "net.pt2",
        inputs=(),
        outputs=(),
        digest="ab" * 32,
        parameters=1500,
        macs=1500,
        family="cnn",
    )
    data = {"metric": "top1", "evaluation": {"items": 8, "sha256": "cd" * 32, "count": 100}}
    write_report(ExportReport(command="export", device="pi4", model=model, results=results, data=data, folder=folder))
    return folder


def check(check_name: str, /, **values: Any) -> Edit:
    """Changes a check in both places where a report has it."""

    def edit(report: Any) -> None:
        for checks in (report["checks"], report["formats"][0]["checks"]):
            next(one for one in checks if one["name"] == check_name).update(values)

    return edit


def without(name: str) -> Edit:
    def edit(report: Any) -> None:
        for entry in (report, report["formats"][0]):
            entry["checks"] = [one for one in entry["checks"] if one["name"] != name]

    return edit


def artifact(**values: Any) -> Edit:
    def edit(report: Any) -> None:
        report["artifacts"][0].update(values)
        report["formats"][0]["artifact"].update(values)

    return edit


REPORT_EDITS: dict[str, Edit] = {
    "size of one byte": check("size", value=1.0),
    "size of one byte in one place": lambda r: r["formats"][0]["checks"][0].update(value=1.0),
    "negative size": check("size", value=-5.0),
    "size that is true": check("size", value=True),
    "size that is text": check("size", value="1"),
    "infinite size": check("size", value=float("-inf")),
    "size that is not a number": check("size", value=float("nan")),
    "size without a figure": check("size", value=None),
    "smaller download": check("download", value=10.0),
    "smaller memory": check("memory", value=1.0),
    "faster": check("latency", value=1.0, low=1.0, high=1.0),
    "faster at the low end": check("latency", low=1.0),
    "latency that was measured": check("latency", value=1.0, low=1.0, high=1.0, basis="measured"),
    "latency that was imported": check("latency", value=1.0, low=1.0, high=1.0, basis="imported", measured_on="pi4"),
    "no drop": check("accuracy_drop", value=-100.0, low=-100.0, high=-100.0),
    "no band": check("accuracy_drop", low=None, high=None),
    "band of one side": check("accuracy_drop", value=2.0),
    "figure outside of its band": check("accuracy_drop", value=0.0),
    "higher parity": check("parity", value=60.0),
    "drop that was not a number": check("slice_drop", verdict="not_run", level="warn"),
    "drop that passes without a figure": check("slice_drop", verdict="pass"),
    "drop that became a number": check("slice_drop", value=0.0, verdict="pass"),
    "full coverage": check("integer_coverage", value=100.0, verdict="pass"),
    "more than full coverage": check("integer_coverage", value=200.0, verdict="pass"),
    "coverage that warns": check("integer_coverage", level="warn"),
    "coverage with a lower limit": check("integer_coverage", limit=10.0),
    "coverage without a limit": check("integer_coverage", limit=None, limit_from=""),
    "coverage of another source": check("integer_coverage", limit_from="profile"),
    "no ignored setting": check("ignored_settings", value=0.0, verdict="pass"),
    "ignored settings that warn": check("ignored_settings", level="warn"),
    "level that nobody knows": check("ignored_settings", level="info"),
    "verdict that nobody knows": check("ignored_settings", verdict="fine"),
    "check that nobody knows": check("ignored_settings", name="nice_settings"),
    "check without coverage": without("integer_coverage"),
    "check without ignored settings": without("ignored_settings"),
    "check without the drop": without("accuracy_drop"),
    "no checks": lambda r: (r["formats"][0].update(checks=[]), r.update(checks=[])),
    "check twice": lambda r: r["formats"][0]["checks"].append(dict(r["formats"][0]["checks"][0])),
    "no error": lambda r: r["formats"][1].update(error=None),
    "failed format left out": lambda r: r["formats"].pop(),
    "no format": lambda r: r.update(formats=[], checks=[], artifacts=[]),
    "artifact left out": lambda r: r["formats"][0].update(artifact=None),
    "artifact of another size": artifact(size_bytes=1),
    "artifact of another hash": artifact(sha256="0" * 64),
    "artifact of another precision": artifact(precision="fp32"),
    "artifact of another runtime": artifact(runtime="onnx"),
    "artifact of another place": artifact(path="../other.tflite"),
    "another recipe": lambda r: r["formats"][0]["recipe"].update(default="fp32"),
    "no steps": lambda r: r["formats"][0].update(steps=[]),
    "another device": lambda r: r.update(device="pi5"),
    "another model": lambda r: r["model"].update(digest="0" * 64),
    "model of the demo": lambda r: r["model"].update(embedded_default=True),
    "other data": lambda r: r["data"]["evaluation"].update(sha256="0" * 64),
    "checks that are no list": lambda r: r["formats"][0].update(checks={}),
    "format that is null": lambda r: r.update(formats=[None]),
    "no formats key": lambda r: r.pop("formats"),
    "version that is true": lambda r: r.update(schema_version=True),
}

LOCK_EDITS: dict[str, Edit] = {
    "another drop": lambda k: k["artifacts"][0]["measurements"]["accuracy_drop"].update(value=0.0),
    "no measurements": lambda k: k["artifacts"][0].update(measurements={}),
    "no checks": lambda k: k["artifacts"][0].update(checks=[]),
    "no artifacts": lambda k: k.update(artifacts=[]),
    "another hash": lambda k: k["artifacts"][0].update(sha256="0" * 64),
    "another size": lambda k: k["artifacts"][0].update(size_bytes=1),
    "negative size": lambda k: k["artifacts"][0].update(size_bytes=-1),
    "size that is true": lambda k: k["artifacts"][0].update(size_bytes=True),
    "no failed format": lambda k: k["formats"].pop(),
    "artifacts that are text": lambda k: k.update(artifacts="none"),
    "another device": lambda k: k.update(device="pi5"),
    "no model": lambda k: k.update(model=None),
}


COMPARED = {
    "name": "size", "unit": "bytes", "predicted": 4, "low": 2, "high": 6, "measured": 3, "error": 1,
    "error_percent": 33.3, "in_band": True, "basis": "exact",
}  # fmt: skip


def edited(records: Path, folder: Path, name: str, edit: Edit) -> Path:
    """Returns a copy of the records with one edit."""
    for path in records.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    data = json.loads((folder / name).read_text())
    before = copy.deepcopy(data)
    edit(data)
    assert json.dumps(data) != json.dumps(before)
    (folder / name).write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("edit", REPORT_EDITS.values(), ids=REPORT_EDITS)
def test_an_edited_report_is_refused(records: Path, tmp_path: Path, edit: Edit) -> None:
    with pytest.raises(ArtifactError, match=r"Run edgekit export again"):
        gate_folder(edited(records, tmp_path, "report.json", edit), "pi4", Budget())


@pytest.mark.parametrize("edit", LOCK_EDITS.values(), ids=LOCK_EDITS)
def test_an_edited_lock_is_refused(records: Path, tmp_path: Path, edit: Edit) -> None:
    with pytest.raises(ArtifactError, match=r"Run edgekit export again"):
        gate_folder(edited(records, tmp_path, "edgekit.lock", edit), "pi4", Budget())


@pytest.mark.parametrize("name", EVERY_CHECK)
def test_a_check_that_is_gone_from_report_and_lock_alike_is_missed(records: Path, tmp_path: Path, name: str) -> None:
    folder = edited(records, tmp_path, "report.json", without(name))
    report, lock = (json.loads((folder / file).read_text()) for file in ("report.json", "edgekit.lock"))
    report["figures_sha256"] = figures_digest(report["formats"])
    lock["artifacts"][0]["checks"].remove(name)
    lock["artifacts"][0]["measurements"].pop(name, None)
    for file, data in (("report.json", report), ("edgekit.lock", lock)):
        (folder / file).write_text(json.dumps(data))
    missed = re.escape(f"net-int8-static.tflite: report.json has no check {name}; every export writes one\n")
    with pytest.raises(ArtifactError, match=missed):
        gate_folder(folder, "pi4", Budget())


def test_a_report_without_its_lock_is_refused(records: Path, tmp_path: Path) -> None:
    edited(records, tmp_path, "report.json", lambda report: report.update(edgekit="x"))
    (tmp_path / "edgekit.lock").unlink()
    with pytest.raises(ArtifactError) as caught:
        gate_folder(tmp_path, "pi4", Budget())
    assert caught.value.message == (
        f"{tmp_path / 'edgekit.lock'}: no such lock. Give the folder that edgekit export wrote."
    )


def test_records_without_an_edit_are_judged(records: Path) -> None:
    found = gate_folder(records, "pi4", Budget())
    assert not found.passed()
    assert {x.name for x in found.checks if x.fails_gate} == {"integer_coverage", "ignored_settings", "slice_drop"}
    assert found.failures == ("onnx fp32: no kernel for aten.fft",)


def test_the_message_says_what_each_source_says(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(report: Any) -> None:
        check("size", value=1.0)(report)
        check("accuracy_drop", value=-100.0, low=-100.0, high=-100.0)(report)

    folder = edited(records, tmp_path, "report.json", edit)
    assert main(["gate", str(folder), "--device", "pi4"]) == 2
    assert capsys.readouterr().err == (
        f"edgekit: {folder}: the records contradict each other:\n"
        "  net-int8-static.tflite: report.json says size 1, the file has 6144 bytes\n"
        "  net-int8-static.tflite: report.json says size 1, the lock says 6144\n"
        "  net-int8-static.tflite: report.json says accuracy_drop.high -100, the lock says 4\n"
        "  net-int8-static.tflite: report.json says accuracy_drop.low -100, the lock says 2\n"
        "  net-int8-static.tflite: report.json says accuracy_drop -100, the lock says 3\n"
        f"Run edgekit export again, or run the artifacts again with: edgekit gate {folder} -d pi4 --remeasure\n"
    )
    assert main(["verify", str(folder)]) == 1


def test_the_faults_of_a_report_are_listed_with_their_place(records: Path, tmp_path: Path) -> None:
    def edit(report: Any) -> None:
        report["formats"][0]["checks"][0].update(value=True, level="info")
        report["formats"][1]["error"] = None

    with pytest.raises(ArtifactError) as caught:
        gate_folder(edited(records, tmp_path, "report.json", edit), "pi4", Budget())
    assert caught.value.message == (
        f"{tmp_path / 'report.json'} has 3 faults:\n"
        "  formats[0].checks[0].value: true was given; expected a finite number, or null\n"
        '  formats[0].checks[0].level: "info" was given; expected error or warn\n'
        "  formats[1]: there is neither an artifact nor an error\n"
        "Run edgekit export again."
    )


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        pytest.param(
            lambda report: report["formats"][0]["predicted_and_measured"].append(COMPARED | {"high": "<b>"}),
            'formats[0].predicted_and_measured[0].high: "<b>" was given; expected a finite number, or null',
            id="a prediction beside a measurement",
        ),
        pytest.param(
            lambda report: report["formats"][0]["predicted_and_measured"].append(COMPARED | {"error": None}),
            "formats[0].predicted_and_measured[0]: 3 was measured, and error is null",
            id="a measurement without its error",
        ),
        pytest.param(
            lambda report: report["formats"][0]["host"].update(slices=[{"name": "night", "count": -1}]),
            "formats[0].host.slices[0].count: -1 was given; expected a whole number",
            id="a slice",
        ),
        pytest.param(
            lambda report: report["formats"][0].update(notes=[1]),
            "formats[0].notes[0]: 1 was given; expected a list of texts",
            id="a note",
        ),
        pytest.param(
            lambda report: report["data"].update(evaluation=[]),
            "data.evaluation: a list was given; expected an object with items and sha256, or null",
            id="the data",
        ),
        pytest.param(
            lambda report: report.update(calibration={"samples": 3}),
            "calibration.classes_compared: missing; expected true or false",
            id="the lint of the calibration data",
        ),
        pytest.param(
            lambda report: report["environment"].update(packages=["torch"]),
            "environment.packages: a list was given; expected an object from a package's name to its version",
            id="the machine",
        ),
        pytest.param(
            lambda report: report.update(stages=[{"stages": 1}]),
            "stages[0].stages: 1 was given; expected a list of stages",
            id="the stages",
        ),
    ],
)
def test_parts_of_a_report_that_are_only_shown_have_a_form_too(
    records: Path, tmp_path: Path, edit: Edit, place: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        gate_folder(edited(records, tmp_path, "report.json", edit), "pi4", Budget())
    assert f"\n  {place}\n" in caught.value.message
