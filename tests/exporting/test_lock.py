from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import EVERY_CHECK
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.errors import ArtifactError, DataError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.lock import read_lock
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport
from edgekit.exporting.verification import verify_files, verify_inputs
from edgekit.recipe import Recipe, Step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "net-int8-static.onnx"
    path.write_bytes(bytes(1000))
    size, download, digest = measure_files(path)
    artifact = Artifact(
        path=path, runtime="onnx", precision="int8-static", size_bytes=size, download_bytes=download, sha256=digest
    )
    result = FormatResult(
        runtime="onnx",
        recipe=Recipe(default="int8_static"),
        steps=(Step(technique="quantize_static"),),
        artifact=artifact,
        checks=(
            judge("size", float(size), None, runtime="onnx"),
            judge("memory", 1e6, None, runtime="onnx"),
            judge("parity", None, None, runtime="onnx"),
        ),
    )
    write_report(
        ExportReport(
            command="export",
            device="pi4",
            model=None,
            results=(result,),
            environment={"packages": {"pytest": pytest.__version__}},
            folder=tmp_path,
        )
    )
    return tmp_path


def details(folder: Path) -> dict[str, tuple[str, str]]:
    lock = read_lock(folder / "edgekit.lock")
    return {item.name: (item.verdict, item.detail) for item in verify_files(lock, folder)}


def test_the_lock_names_what_went_in_and_what_came_out(folder: Path) -> None:
    lock = read_lock(folder / "edgekit.lock")
    assert {"code", "python", "machine", "packages", "data", "model", "io"} <= set(lock)
    (artifact,) = lock["artifacts"]
    assert artifact["steps"] == [{"technique": "quantize_static", "settings": {}}]
    there = ("size", "parity", "memory")  # the others say that nothing judged them
    assert {name: figure for name, figure in artifact["measurements"].items() if name in there} == {
        "size": {"value": 1000.0, "low": None, "high": None, "unit": "bytes", "basis": "measured"},
        "parity": {
            "value": None,
            "low": None,
            "high": None,
            "unit": "dB",
            "basis": "measured",
            "verdict": "not_run",
        },
    }
    assert artifact["checks"][:3] == ["size", "memory", "parity"]
    assert sorted(artifact["checks"]) == sorted(EVERY_CHECK)
    assert str(folder) not in json.dumps(lock)


def test_an_untouched_folder_is_verified_offline(folder: Path) -> None:
    digest = measure_files(folder / "net-int8-static.onnx")[2][:12]
    assert details(folder) == {
        "net-int8-static.onnx": ("ok", f"SHA-256 {digest}, 1000 bytes."),
        "report.json": ("ok", "It says what the artifacts and the lock say."),
    }
    assert main(["verify", str(folder)]) == 0
    assert main(["verify", str(folder / "edgekit.lock"), "--json"]) == 0


def test_a_changed_byte_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "net-int8-static.onnx"
    before = measure_files(path)[2][:12]
    path.write_bytes(bytes(999) + b"\1")
    after = measure_files(path)[2][:12]
    assert details(folder)["net-int8-static.onnx"] == (
        "failed",
        f"The file has changed: its SHA-256 is {after}, the lock says {before}.",
    )
    assert main(["verify", str(folder), "-q"]) == 1
    assert capsys.readouterr().out == (
        f"FAIL net-int8-static.onnx: The file has changed: its SHA-256 is {after}, the lock says {before}.\n"
        f"FAIL {folder / 'edgekit.lock'}\n"
    )


def test_a_file_that_is_gone_fails(folder: Path) -> None:
    (folder / "net-int8-static.onnx").unlink()
    assert details(folder)["net-int8-static.onnx"] == ("failed", "The file is gone.")


def test_a_report_about_other_artifacts_fails(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    report["artifacts"][0]["sha256"] = "0" * 64
    (folder / "report.json").write_text(json.dumps(report))
    assert details(folder)["report.json"] == (
        "failed",
        "the artifacts differ from those of its formats.",
    )


def change(folder: Path, **values: Any) -> None:
    path = folder / "edgekit.lock"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_other_tools_are_reported_and_do_not_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, packages={"pytest": "0.1", "no-such-package": "1.0"}, code="old")
    assert main(["verify", str(folder), "--json"]) == 0
    notes = [item["detail"] for item in json.loads(capsys.readouterr().out)["checks"] if item["verdict"] == "note"]
    assert notes == [
        "edgekit 0.1.0 in the lock, other code (0.1.0) here: a rebuild may differ.",
        f"pytest 0.1 in the lock, {pytest.__version__} here: a rebuild may differ.",
        "no-such-package 1.0 in the lock, not installed here: a rebuild may differ.",
    ]


def test_a_lock_without_artifacts_does_not_pass(folder: Path) -> None:
    change(folder, artifacts=[])
    assert details(folder)["artifacts"] == ("failed", "The lock names no artifact.")


def test_inputs_that_have_changed_are_named() -> None:
    lock = {"model": {"digest": "a" * 64}, "data": {"calibration": {"sha256": "b" * 64}, "evaluation": None}}
    now = {"calibration": {"sha256": "c" * 64}, "evaluation": None}
    assert [(item.name, item.verdict, item.detail) for item in verify_inputs(lock, "a" * 64, now)] == [
        ("model", "ok", "The same: aaaaaaaaaaaa."),
        ("calibration data", "failed", "It has changed: cccccccccccc now, bbbbbbbbbbbb in the lock."),
        ("evaluation data", "ok", "None, as in the lock."),
    ]


def test_a_lock_without_a_model_cannot_be_rebuilt() -> None:
    with pytest.raises(DataError) as caught:
        verify_inputs({"model": None}, "", {})
    assert caught.value.message == ("The lock names no model: the artifact was made elsewhere and cannot be rebuilt.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "{path}: no such lock. Give the folder that edgekit export wrote.", id="none"),
        pytest.param(
            "[",
            "{path} is not valid JSON: Expecting value: line 1 column 2 (char 1). Run edgekit export again.",
            id="no JSON",
        ),
        pytest.param(
            "{}",
            "{path}: not a lock that this edgekit reads (schema_version None, expected 1). Run edgekit export again.",
            id="another schema",
        ),
        pytest.param(
            '{"schema_version": 1, "artifacts": [], "model": null, "data": {}, "packages": {}}',
            "{path} has 5 faults:\n"
            "  edgekit: missing; expected the version of edgekit that wrote it\n"
            "  code: missing; expected a hash of edgekit's code\n"
            "  device: missing; expected the name of a device profile\n"
            "  io: missing; expected float or int8\n"
            "  formats: missing; expected a list of the formats that were requested\n"
            "Run edgekit export again.",
            id="an older one",
        ),
    ],
)
def test_a_lock_that_cannot_be_read_gets_one_message(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "edgekit.lock"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError) as caught:
        read_lock(path)
    assert caught.value.message == message.format(path=path)
