from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import RECIPE_SOURCE, Budget, Limit, read_limit
from edgekit.checks import Check, judge
from edgekit.cli.app import main
from edgekit.errors import ArtifactError, ConversionError, DataError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_files import read_report, write_report
from edgekit.exporting.report import ExportReport, with_imported
from edgekit.gating.gate import gate_folder
from edgekit.measurements.latency_figures import figures_of
from edgekit.measurements.measurement import MeasuredArtifact, Measurement, MemoryFigures
from edgekit.recipe import Recipe
from edgekit.task.request import Request


def budget(**limits: str) -> Budget:
    return Budget(limits=tuple(read_limit(name, text, "profile") for name, text in limits.items()))


def export(folder: Path, *more: Check) -> None:
    """Writes the records of an export of one artifact that lost 0.5 points, with more checks."""
    path = folder / "net-int8-static.tflite"
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
        judge("accuracy_drop", 0.5, None, low=0.2, high=0.9, runtime="tflite"),
        *more,
    )
    result = FormatResult(runtime="tflite", recipe=Recipe(default="int8_static"), artifact=artifact, checks=checks)
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of one artifact of 2,000 bytes."""
    (tmp_path / "net-int8-static.tflite").write_bytes(bytes(2000))
    export(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "good", "strict"),
    [
        pytest.param({"size": "2 kB"}, True, True, id="on the limit"),
        pytest.param({"size": "1999 B"}, False, False, id="one byte over"),
        pytest.param({"accuracy_drop": "0.9 pp"}, True, True, id="band within"),
        pytest.param({"accuracy_drop": "0.5 pp"}, True, False, id="band across"),
        pytest.param({"accuracy_drop": "0.1 pp"}, False, False, id="band beyond"),
        pytest.param({"memory": "1 MB"}, False, False, id="a limit that nothing measured"),
    ],
)
def test_the_recorded_figures_meet_todays_limits(
    folder: Path, limits: dict[str, str], good: bool, strict: bool
) -> None:
    result = gate_folder(folder, "pi4", budget(**limits))
    assert result.passed() == good
    assert result.passed(strict=True) == strict


def coverage(folder: Path, value: float | None, limit: Limit | None, name: str = "integer_coverage") -> None:
    """Exports again, with a check that has the limit that an export gave it."""
    export(folder, judge(name, value, limit, runtime="tflite", detail="In float: stem (CONV_2D)."))


def test_what_a_recipe_asks_for_is_judged_by_every_gate(folder: Path) -> None:
    coverage(folder, 93.0, Limit(name="integer_coverage", value=100.0, source=RECIPE_SOURCE))
    result = gate_folder(folder, "pi4", budget())
    assert not result.passed()
    check = next(one for one in result.checks if one.name == "integer_coverage")
    assert (check.verdict, check.limit_from, check.detail) == ("fail", RECIPE_SOURCE, "In float: stem (CONV_2D).")
    assert gate_folder(folder, "pi4", budget(integer_coverage="90 %")).passed()


def test_an_ignored_setting_fails_every_gate(folder: Path) -> None:
    coverage(folder, 1.0, Limit(name="ignored_settings", value=0.0, source=RECIPE_SOURCE), "ignored_settings")
    assert not gate_folder(folder, "pi4", budget()).passed()


@pytest.mark.parametrize(("source", "good"), [("profile", True), ("--min-delegate-coverage", False)])
def test_a_profiles_limit_on_a_path_is_not_about_formats_without_one(folder: Path, source: str, good: bool) -> None:
    coverage(folder, None, None, "delegate_coverage")
    limits = Budget(limits=(Limit(name="delegate_coverage", value=90.0, source=source),))
    assert gate_folder(folder, "pi4", limits).passed() == good


def test_what_an_export_for_another_device_did_not_predict_is_not_held_against_a_format(folder: Path) -> None:
    export(folder, judge("accelerator_coverage", None, None, basis="predicted", runtime="tflite", detail="None."))
    checks = gate_folder(folder, "pi5", budget(accelerator_coverage="90 %")).checks
    found = next(one for one in checks if one.name == "accelerator_coverage")
    assert (found.verdict, found.limit) == ("not_run", None)
    assert found.detail == "The export was for pi4: export again with --device pi5 to predict it there."


def test_a_report_of_an_edgekit_that_did_not_look_at_paths_keeps_a_profiles_limit_on_them(folder: Path) -> None:
    assert gate_folder(folder, "pi4", budget(accelerator_coverage="90 %")).passed(strict=True)


def test_the_gates_json_says_who_set_each_limit(folder: Path) -> None:
    data = gate_folder(folder, "pi4", budget(size="1 kB")).to_json()
    assert data["command"] == "gate"
    assert data["passed"] is False
    size = next(check for check in data["checks"] if check["name"] == "size")
    assert (size["verdict"], size["limit"], size["limit_from"]) == ("fail", 1000.0, "profile")
    json.dumps(data, allow_nan=False)


def test_an_artifact_that_has_changed_is_refused(folder: Path) -> None:
    path = folder / "net-int8-static.tflite"
    path.write_bytes(b"other")
    expected = (
        f"{path} has changed since it was measured: its SHA-256 is d9298a10d1b0, report.json says "
        "{old}. Run edgekit export again, or edgekit validate on the new file."
    ).format(old=read_report(folder)["formats"][0]["artifact"]["sha256"][:12])
    with pytest.raises(ArtifactError, match=f"^{re.escape(expected)}$"):
        gate_folder(folder, "pi4", budget())


def test_an_artifact_that_is_gone_is_named(folder: Path) -> None:
    path = folder / "net-int8-static.tflite"
    path.unlink()
    expected = f"{path} is gone, but report.json has measured it. Run edgekit export again."
    with pytest.raises(ArtifactError, match=f"^{re.escape(expected)}$"):
        gate_folder(folder, "pi4", budget())


def test_a_format_that_could_not_be_made_fails_the_gate(tmp_path: Path) -> None:
    result = FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("no kernel for aten.fft"))
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=tmp_path))
    judged = gate_folder(tmp_path, "pi4", budget())
    assert not judged.passed()
    assert judged.failures == ("onnx fp32: no kernel for aten.fft",)


def test_nan_stays_a_failure_through_json(tmp_path: Path) -> None:
    check = judge("accuracy_drop", float("nan"), None, runtime="tflite")
    again = Check.from_json(json.loads(json.dumps(check.to_json(), allow_nan=False)))
    assert (check.verdict, again.verdict, again.value, again.fails_gate) == ("fail", "fail", None, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            None,
            "{folder}: no report.json there. Give the folder that edgekit export wrote, or an artifact.",
            id="none",
        ),
        pytest.param(
            "{",
            "{folder}/report.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 "
            "column 2 (char 1). Run edgekit export again.",
            id="no JSON",
        ),
        pytest.param(
            '{"schema_version": 9}',
            "{folder}/report.json: not a report of edgekit export that this edgekit reads (schema_version 9, "
            "expected 1). Run edgekit export again.",
            id="another schema",
        ),
    ],
)
def test_a_report_that_cannot_be_read_gets_one_message(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(ArtifactError, match=f"^{re.escape(message.format(folder=tmp_path))}$"):
        gate_folder(tmp_path, "pi4", budget())


def test_the_lock_pins_bytes_and_recipes_and_holds_no_paths(folder: Path) -> None:
    lock: dict[str, Any] = json.loads((folder / "edgekit.lock").read_text())
    (artifact,) = lock["artifacts"]
    assert artifact["file"] == "net-int8-static.tflite"
    assert artifact["recipe"]["default"] == "int8_static"
    assert str(folder) not in json.dumps(lock)


def measurement(folder: Path, **changes: Any) -> Measurement:
    """A measurement of the folder's artifact on a pi4: 30 ms, 20 MB."""
    facts: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "device": "pi4",
        "host": "Raspberry Pi 4",
        "place": "ssh://board",
        "artifact": MeasuredArtifact(
            file="net.tflite",
            sha256=measure_files(folder / "net-int8-static.tflite")[2],
            size_bytes=2000,
            runtime="tflite",
        ),
        "latency": figures_of([30.0] * 20),
        "memory": MemoryFigures(above_empty_bytes=20_000_000),
        "path": Path("m.json"),
    }
    return Measurement(**(facts | changes))


@pytest.mark.parametrize(("limit", "good"), [("30 ms", True), ("29 ms", False)], ids=["on the limit", "above"])
def test_measurements_from_the_device_decide(folder: Path, limit: str, good: bool) -> None:
    result = gate_folder(folder, "pi4", budget(latency=limit, memory="20 MB"), [measurement(folder)])
    assert result.passed() is good
    checks = {check.name: check for check in result.checks}
    assert (checks["latency"].basis, checks["latency"].measured_on) == ("imported", "pi4")
    assert (checks["memory"].value, checks["memory"].verdict) == (20_000_000, "pass")
    assert checks["size"].basis == "measured"


def test_measurements_of_another_artifact_are_refused(folder: Path) -> None:
    other = MeasuredArtifact(file="x.tflite", sha256="cd" * 32, size_bytes=1, runtime="tflite")
    message = f"m.json was measured on an artifact with SHA-256 cdcdcdcdcdcd (x.tflite); {folder} has "
    with pytest.raises(
        DataError, match=f"^{re.escape(message)}[0-9a-f]{{12}}\\. Measure the artifact that is judged on pi4, "
    ):
        gate_folder(folder, "pi4", budget(), [measurement(folder, artifact=other)])


def test_an_export_keeps_its_imported_figures_for_that_device_only(folder: Path) -> None:
    path = folder / "net-int8-static.tflite"
    size, download, digest = measure_files(path)
    artifact = Artifact(
        path=path, runtime="tflite", precision="fp32", size_bytes=size, download_bytes=download, sha256=digest
    )
    result = FormatResult(runtime="tflite", recipe=Recipe(), artifact=artifact, checks=(judge("size", 2000.0, None),))
    report = ExportReport(command="export", device="pi4", model=None, results=(result,), folder=folder)
    write_report(with_imported(report, [measurement(folder)], budget(latency="1 s")))
    assert gate_folder(folder, "pi4", budget(latency="1 s")).passed()
    elsewhere = gate_folder(folder, "pi5", budget(latency="1 s"))
    latency = next(check for check in elsewhere.checks if check.name == "latency")
    assert (latency.verdict, latency.value) == ("not_run", None)
    assert latency.detail == "It was imported from pi4 and not measured on pi5."
    assert not elsewhere.passed()


def predicted_export(folder: Path) -> None:
    """Exports again, with a latency of 40 ms that was predicted for pi4."""
    export(folder, judge("latency", 40.0, None, low=30.0, high=50.0, basis="predicted", runtime="tflite"))


@pytest.mark.parametrize(
    ("limit", "verdict", "good"),
    [("50 ms", "pass", True), ("40 ms", "inconclusive", True), ("29 ms", "fail", False)],
    ids=["band within", "band across", "band beyond"],
)
def test_a_predicted_latency_gates_where_its_whole_band_is_beyond(
    folder: Path, limit: str, verdict: str, good: bool
) -> None:
    predicted_export(folder)
    result = gate_folder(folder, "pi4", budget(latency=limit))
    latency = next(check for check in result.checks if check.name == "latency")
    assert (latency.verdict, latency.basis, result.passed()) == (verdict, "predicted", good)


def test_a_latency_predicted_for_another_device_is_no_figure(folder: Path) -> None:
    predicted_export(folder)
    result = gate_folder(folder, "pi5", budget(latency="50 ms"))
    latency = next(check for check in result.checks if check.name == "latency")
    assert (latency.verdict, latency.value) == ("not_run", None)
    assert latency.detail == ("It was predicted for pi4: export again with --device pi5 to predict it there.")


def test_remeasuring_believes_the_artifact_and_not_the_records(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Report and lock are edited alike: only a run of the artifact finds it."""
    export(folder, judge("parity", 60.0, None, runtime="tflite"))
    run: list[Path] = []

    def validated(artifact: Path, request: Request, **_: object) -> ExportReport:
        run.append(artifact)
        result = FormatResult(
            runtime="tflite",
            recipe=Recipe(default="int8_static"),
            artifact=Artifact(
                path=artifact,
                runtime="tflite",
                precision="int8-static",
                size_bytes=2000,
                download_bytes=11,
                sha256="0" * 64,
            ),
            checks=(judge("parity", 3.0, request.budget.get("parity"), runtime="tflite"),),
        )
        return ExportReport(command="validate", device="pi4", model=None, results=(result,), folder=artifact.parent)

    monkeypatch.setattr("edgekit.exporting.validation_request.run_validation", validated)
    monkeypatch.chdir(folder)
    requested = ["gate", str(folder), "--device", "pi4", "--min-parity", "20 dB", "--json"]
    assert main(requested) in (0, 1)
    assert main([*requested, "--remeasure"]) == 1
    data = json.loads(capsys.readouterr().out.rpartition("\n{\n")[2].join(["{\n", ""]))
    assert run == [folder / "net-int8-static.tflite"]
    parity = next(check for check in data["checks"] if check["name"] == "parity")
    assert (parity["value"], parity["verdict"]) == (3.0, "fail")


def test_a_folder_of_failures_cannot_be_remeasured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("no kernel for aten.fft"))
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=tmp_path))
    assert main(["gate", str(tmp_path), "--device", "pi4", "--remeasure"]) == 2
    assert capsys.readouterr().err == (
        f"edgekit: {tmp_path} holds no artifact: every format failed. Run edgekit export again.\n"
    )
