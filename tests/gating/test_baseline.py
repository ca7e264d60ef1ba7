from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.checks import judge
from edgekit.cli.app import main
from edgekit.errors import ArtifactError, ConversionError, ResourceError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_files import read_report, write_report
from edgekit.exporting.report import ExportReport
from edgekit.gating.baseline import read_baseline, write_baseline
from edgekit.recipe import Recipe

LIMITED = ["--max-regression", "size +5 %", "-d", "pi4", "-q"]


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export of one package of 3,000 bytes in `out`; the current folder is above it."""
    monkeypatch.chdir(tmp_path)
    for name in ("EDGEKIT_BASELINE", "EDGEKIT_MAX_REGRESSION"):
        monkeypatch.delenv(name, raising=False)
    export_of(tmp_path / "out", 3000)
    return tmp_path


def export_of(folder: Path, size: int) -> None:
    package = folder / "net-fp16.mlpackage"
    package.mkdir(parents=True, exist_ok=True)
    (package / "weights").write_bytes(bytes(size))
    size_bytes, download, digest = measure_files(package)
    artifact = Artifact(
        path=package, runtime="coreml", precision="fp16", size_bytes=size_bytes, download_bytes=download, sha256=digest
    )
    checks = (judge("size", float(size_bytes), None, runtime="coreml"), judge("memory", None, None, runtime="coreml"))
    result = FormatResult(runtime="coreml", recipe=Recipe(default="fp16"), artifact=artifact, checks=checks)
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=folder))


@pytest.mark.parametrize("keep", [False, True], ids=["figures only", "with artifacts"])
def test_what_was_set_is_what_is_read(exported: Path, keep: bool) -> None:
    path = exported / "ci" / "base.json"
    write_baseline(read_report(exported / "out"), exported / "out", path, keep_artifacts=keep)
    (record,) = read_baseline(path).formats
    assert [(check.name, check.value) for check in record.figures] == [("size", 3000.0), ("download", 20.0)]
    assert (record.file is not None) == keep
    if record.file:
        assert measure_files(record.file)[2] == record.sha256


def test_a_baseline_holds_no_paths_of_this_machine(exported: Path) -> None:
    path = exported / "base.json"
    write_baseline(read_report(exported / "out"), exported / "out", path, keep_artifacts=True)
    assert str(exported) not in path.read_text()


def test_setting_it_twice_gives_the_same_bytes(exported: Path) -> None:
    assert main(["baseline", "set", "out", "--json"]) == 0
    first = (exported / "edgekit-baseline.json").read_bytes()
    assert main(["baseline", "set", "out", "--json"]) == 0
    assert (exported / "edgekit-baseline.json").read_bytes() == first


def test_show_says_what_it_holds(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del exported
    main(["baseline", "set", "out"])
    capsys.readouterr()
    assert main(["baseline", "show", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["command"], data["formats"][0]["runtime"], data["formats"][0]["kept"]) == (
        *("baseline show", "coreml"),
        False,
    )
    assert main(["baseline", "show"]) == 0
    assert capsys.readouterr().out.startswith("edgekit-baseline.json: artifact on pi4\n\ncoreml fp16  ")


def test_the_gate_finds_the_baseline_of_the_current_folder(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["baseline", "set", "out"])
    assert main(["gate", "out", *LIMITED]) == 1  # accuracy was not measured
    export_of(exported / "out", 3300)
    capsys.readouterr()
    main(["gate", "out", *LIMITED])
    assert (
        "FAIL coreml: size change +10 % exceeds +5 % by 5.00 pp (limit from --max-regression). "
        "If it is wanted, set a new baseline: edgekit baseline set out\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "level"),
    [pytest.param([], "warn", id="warns"), pytest.param(["--fail-on-missing-baseline"], "error", id="fails")],
)
def test_a_missing_baseline_warns_or_fails(
    exported: Path, flags: list[str], level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del exported
    main(["gate", "out", *LIMITED, *flags, "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (checks["size_change"]["verdict"], checks["size_change"]["level"]) == ("not_run", level)


def test_without_limits_a_demanded_baseline_that_is_missing_is_an_error(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del exported
    assert main(["gate", "out", "-d", "pi4", "--fail-on-missing-baseline"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: There is no baseline and --fail-on-missing-baseline was given. Set one with: edgekit baseline set "
        "DIR, or name its file with --baseline.\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "{path}: no such baseline. Write one with: edgekit baseline set DIR -o {path}", id="none"),
        pytest.param(
            "[",
            "{path} is not valid JSON: Expecting value: line 1 column 2 (char 1). "
            "Write it anew with: edgekit baseline set DIR",
            id="no JSON",
        ),
        pytest.param(
            "{}",
            "{path}: not a baseline that this edgekit reads (schema_version None, expected 1). "
            "Write it anew with: edgekit baseline set DIR",
            id="another schema",
        ),
        pytest.param(
            '{"schema_version": 1, "formats": []}',
            "{path} has 3 faults:\n"
            "  device: missing; expected the name of a device profile\n"
            "  model: missing; expected an object with name and digest\n"
            "  data: missing; expected an object with metric and evaluation\n"
            "Write it anew with: edgekit baseline set DIR",
            id="incomplete",
        ),
    ],
)
def test_a_baseline_that_cannot_be_read_gets_one_message(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "b.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError) as caught:
        read_baseline(path)
    assert caught.value.message == message.format(path=path)


@pytest.mark.parametrize(
    ("accuracy", "place"),
    [
        pytest.param(
            {"metric": "top1"}, ": metric, value and count belong together: one of them is missing", id="half of it"
        ),
        pytest.param(
            {"metric": "top1", "value": 9.0, "count": 9, "items": {"kind": "bits", "count": 9, "zlib_base64": "<b>"}},
            ".items: the scores cannot be read: Only base64 data is allowed",
            id="no scores",
        ),
    ],
)
def test_a_metric_of_a_baseline_has_a_form(exported: Path, accuracy: dict[str, Any], place: str) -> None:
    path = exported / "b.json"
    write_baseline(read_report(exported / "out"), exported / "out", path, keep_artifacts=False)
    data = json.loads(path.read_text())
    data["formats"][0]["accuracy"] = accuracy
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError) as caught:
        read_baseline(path)
    assert f"\n  formats[0].accuracy{place}\n" in caught.value.message


def test_a_kept_artifact_that_has_changed_is_refused(exported: Path) -> None:
    path = exported / "base.json"
    baseline = write_baseline(read_report(exported / "out"), exported / "out", path, keep_artifacts=True)
    (record,) = baseline.formats
    assert record.file is not None
    (record.file / "weights").write_bytes(b"other")
    found = measure_files(record.file)[2][:12]
    with pytest.raises(ArtifactError) as caught:
        read_baseline(path)
    assert caught.value.message == (
        f"{record.file} is not the artifact of the baseline: its SHA-256 is {found}, the baseline says "
        f"{record.sha256[:12]}. Write the baseline anew with: edgekit baseline set DIR --keep-artifacts"
    )


def test_a_kept_artifact_that_is_gone_counts_as_not_kept(exported: Path) -> None:
    import shutil

    path = exported / "base.json"
    write_baseline(read_report(exported / "out"), exported / "out", path, keep_artifacts=True)
    shutil.rmtree(exported / "base-artifacts")
    assert read_baseline(path).formats[0].file is None


def test_an_export_that_made_nothing_is_no_baseline(tmp_path: Path) -> None:
    result = FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("no kernel"))
    write_report(ExportReport(command="export", device="pi4", model=None, results=(result,), folder=tmp_path))
    with pytest.raises(ArtifactError) as caught:
        write_baseline(read_report(tmp_path), tmp_path, tmp_path / "b.json", keep_artifacts=False)
    assert caught.value.message == (
        f"{tmp_path} holds no artifact: every format failed. A baseline needs an export that worked."
    )


def test_a_baseline_that_cannot_be_written_is_the_machines_fault(exported: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        write_baseline(read_report(exported / "out"), exported / "out", exported / "out", keep_artifacts=False)
    assert caught.value.message == (
        f"The baseline {exported / 'out'} cannot be written: Is a directory. Name another file with --output."
    )


def test_a_baseline_that_gets_worse_says_when_by_how_much_and_why(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "set", "out"]) == 0
    export_of(exported / "out", 3300)
    capsys.readouterr()
    assert main(["baseline", "set", "out"]) == 2
    assert capsys.readouterr().err == (
        "edgekit: The baseline edgekit-baseline.json gets worse: coreml fp16 size from 3 kB to 3.3 kB. Say why, for "
        'those who read it: --reason "..."\n'
    )
    assert main(["baseline", "set", "out", "--reason", "a new head"]) == 0
    export_of(exported / "out", 1500)
    assert main(["baseline", "set", "out"]) == 0  # better: no reason is needed
    first, second = read_baseline(exported / "edgekit-baseline.json").history
    assert (first.reason, [(x.name, x.old, x.new) for x in first.moves]) == ("a new head", [("size", 3000.0, 3300.0)])
    assert (second.reason, [(x.name, x.old, x.new) for x in second.moves]) == (
        "",
        [("size", 3300.0, 1500.0), ("download", 20.0, 14.0)],
    )
    capsys.readouterr()
    assert main(["baseline", "show"]) == 0
    day = first.when[:10]
    assert capsys.readouterr().out.splitlines()[-8:-4] == [  # the download's follow
        "coreml fp16, size over time",
        f"before            3 kB  {'#' * 27}",
        f"{day}      3.3 kB  {'#' * 30}  a new head",
        f"{day}      1.5 kB  {'#' * 14}                  no reason given",
    ]


def test_setting_the_same_baseline_again_adds_nothing_to_its_history(exported: Path) -> None:
    assert main(["baseline", "set", "out"]) == 0
    assert main(["baseline", "set", "out"]) == 0
    assert read_baseline(exported / "edgekit-baseline.json").history == ()
