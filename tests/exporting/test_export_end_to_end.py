"""The main job through the real converters and runtimes: one small trained model in, four formats out, a verdict."""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

FORMATS = ("tflite", "onnx", "executorch", "coreml")
# The scaffold's model is tiny: its verdict on accuracy is not the subject here, that there is one is.
OPEN = ["--max-drop", "30 pp"]
LABELS = ["stripes", "bars", "squares", "noise"]
ROOT = Path(__file__).parents[2]

CHECK = {
    "type": "object",
    "required": [
        *("name", "verdict", "shown_as", "value", "limit", "unit", "basis", "low", "high", "measured_on", "limit_from"),
        "level",
    ],
    "properties": {
        "verdict": {"enum": ["pass", "fail", "inconclusive", "not_run"]},
        "shown_as": {"enum": ["pass", "warn", "fail", "inconclusive", "not measured"]},
        "basis": {"enum": ["predicted", "measured", "imported"]},
        "level": {"enum": ["error", "warn"]},
        "value": {"type": ["number", "null"]},
        "limit": {"type": ["number", "null"]},
    },
}
REPORT = {
    "type": "object",
    "required": [
        "schema_version",
        "command",
        "device",
        "runtime",
        "feasible",
        "passed",
        "model",
        "steps",
        "checks",
        "predictions",
        "rejected",
        "artifacts",
    ],
    "properties": {
        "schema_version": {"const": 1},
        "model": {"required": ["name", "source", "parameters", "macs", "family", "embedded_default"]},
        "steps": {"type": "array", "items": {"required": ["technique", "settings"]}},
        "checks": {"type": "array", "minItems": 1, "items": CHECK},
        "predictions": {"type": "array", "items": {"required": ["name", "value", "low", "high", "unit"]}},
        "rejected": {"type": "array", "items": {"required": ["candidate", "reason"]}},
        "artifacts": {
            "type": "array",
            "items": {
                "required": [
                    *("path", "runtime", "precision", "size_bytes", "download_bytes", "sha256", "inputs", "outputs")
                ]
            },
        },
    },
}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Runs a command in `folder` and returns (exit code, stdout)."""
    out = io.StringIO()
    with inside(folder), contextlib.redirect_stdout(out):
        code = main(arguments)
    return code, out.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The scaffold of `init`, exported to all formats at INT8 into `out`, with a cache of its own."""
    folder = tmp_path_factory.mktemp("project")
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    assert run(folder, "init")[0] == 0
    code, out = run(folder, "export", "-d", "pi4", "-f", ",".join(FORMATS), "-p", "int8", "-o", "out", "--json", *OPEN)
    (folder / "export.json").write_text(json.dumps({"code": code, "report": json.loads(out)}))
    yield folder
    patch.undo()


@pytest.fixture
def report(project: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((project / "export.json").read_text())["report"]
    return data


def test_four_artifacts_are_made_and_run_in_their_own_runtimes(report: dict[str, Any]) -> None:
    assert [entry["runtime"] for entry in report["formats"]] == list(FORMATS)
    for entry in report["formats"]:
        assert entry["error"] is None
        checks = {check["name"]: check for check in entry["checks"]}
        assert checks["size"]["verdict"] == "pass"
        assert checks["accuracy_drop"]["value"] is not None
        assert checks["parity"]["value"] > 10
        assert (checks["integer_coverage"]["verdict"], checks["integer_coverage"]["value"]) == ("pass", 100.0)
        assert checks["ignored_settings"]["verdict"] == "pass"


def test_the_json_has_the_promised_form(report: dict[str, Any]) -> None:
    jsonschema.validate(report, REPORT)


def test_a_hosts_timing_is_no_devices_latency(report: dict[str, Any]) -> None:
    for entry in report["formats"]:
        latency = next(check for check in entry["checks"] if check["name"] == "latency")
        if entry["runtime"] == "coreml":  # no Pi runs it, and nobody predicts it there
            assert (latency["verdict"], latency["value"]) == ("not_run", None)
            continue
        assert (latency["basis"], latency["measured_on"]) == ("predicted", "predicted for pi4")
        assert latency["value"] != entry["host"].get("median_ms")
    ratios = {entry["runtime"]: entry["host"].get("ratio") for entry in report["formats"]}
    assert ratios["coreml"] is None
    assert all(ratios[name] > 0 for name in FORMATS if name != "coreml")


def test_the_core_ml_evaluator_is_called_by_its_name(report: dict[str, Any]) -> None:
    coreml = next(entry for entry in report["formats"] if entry["runtime"] == "coreml")
    assert coreml["host"]["runtime"].startswith("Core ML evaluator, not Apple's runtime")


def test_inputs_and_outputs_are_float_and_keep_names_shapes_and_layout(report: dict[str, Any]) -> None:
    wanted = report["model"]["inputs"][0]
    for entry in report["formats"]:
        (spec,) = entry["artifact"]["inputs"]
        assert (spec["shape"], spec["dtype"], spec["layout"]) == (wanted["shape"], "float32", wanted["layout"])


def test_nothing_half_written_is_left(project: Path) -> None:
    assert sorted(path.suffix for path in (project / "out").iterdir()) == [
        "",  # usage
        ".json",  # details
        ".json",  # report
        ".lock",
        ".mlpackage",
        ".onnx",
        ".pte",
        ".tflite",
    ]


def test_the_gate_says_what_the_export_said(project: Path) -> None:
    made = json.loads((project / "export.json").read_text())
    code, out = run(project, "gate", "out", "-d", "pi4", "--json", *OPEN)
    assert code == made["code"]
    jsonschema.validate(json.loads(out), REPORT)


def test_the_gate_fails_where_the_budget_is_smaller_than_the_file(project: Path) -> None:
    code, out = run(project, "gate", "out", "-d", "pi4", "--max-size", "1 kB", *OPEN)
    assert code == 1
    assert "size" in out
    assert "exceeds 1 kB" in " ".join(out.split())
    assert out.rstrip().endswith("FAIL pi4")


@pytest.mark.parametrize("suffix", [".onnx", ".mlpackage"])
def test_an_artifact_is_validated_against_its_float_model(project: Path, suffix: str) -> None:
    path = next((project / "out").glob(f"*{suffix}"))
    code, out = run(project, "validate", str(path), "-d", "pi4", "--json", *OPEN)
    data = json.loads(out)
    jsonschema.validate(data, REPORT)
    (entry,) = data["formats"]
    assert entry["precision"] == "int8-static"
    embedded = entry["artifact"]["embedded"]
    assert embedded["labels"] == LABELS
    assert embedded["provenance"]["digest"] == data["model"]["digest"]
    assert embedded["provenance"]["calibration"] == data["data"]["calibration"]["sha256"]
    checks = {check["name"]: check for check in entry["checks"]}
    assert checks["accuracy_drop"]["value"] is not None
    if suffix == ".mlpackage":
        # Its memory cannot be measured here. A Pi does not run Core ML, so the Pi's limit only warns.
        assert (checks["memory"]["verdict"], checks["memory"]["level"]) == ("not_run", "warn")
    assert code == 0


def test_the_commands_that_the_page_and_the_gate_name_do_their_work(project: Path) -> None:
    assert run(project, "report", "out")[0] == 0
    page = html.unescape((project / "out" / "report.html").read_text())
    code, said = run(project, "gate", "out", "-d", "pi4", "--max-size", "1 kB", "--max-regression", "size +5 %", *OPEN)
    named = {
        *re.findall(r"<code>edgekit ([^<]+)</code>", page),
        *re.findall(r"edgekit (gate \S+ -d \S+ --why|baseline set [\w/]+)", said),
    }
    assert code == 1
    # Exports, rebuilds and runs on devices have tests of their own, and take long.
    quick = {line for line in named if line.split()[0] in ("gate", "baseline", "verify") and "--rebuild" not in line}
    assert {"baseline set out", "gate out -d pi4 --why", "verify out"} <= quick
    for line in sorted(quick):
        assert run(project, *shlex.split(line))[0] in (0, 1), line


def outputs_of_snippet(folder: Path, runtime: str) -> dict[str, Any]:
    """Returns {output: [what the Python snippet computed, what the validators' runner computed]}."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "usage" / "compare_snippet.py"), str(folder), runtime],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("runtime", FORMATS)
def test_the_apps_python_code_computes_what_the_validator_saw(
    project: Path, report: dict[str, Any], runtime: str
) -> None:
    found = outputs_of_snippet(project / "out", runtime)
    (artifact,) = [item for item in report["artifacts"] if item["runtime"] == runtime]
    assert set(found) == {spec["name"] for spec in artifact["outputs"]}
    for snippet, validator in found.values():
        assert snippet == validator
        assert len({str(row) for row in snippet}) == 3


def test_the_apps_python_code_is_a_program_that_names_the_best_label(project: Path) -> None:
    (path,) = (project / "out" / "usage").glob("*_onnx.py")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    assert sorted(line.split(":")[0].strip() for line in done.stdout.splitlines()[1:]) == sorted(LABELS)


def test_validating_tells_what_the_file_says_about_itself(project: Path, tmp_path: Path) -> None:
    path = next((project / "out").glob("*.onnx"))
    lines = run(tmp_path, "validate", str(path), "-d", "pi4")[1].splitlines()
    text = " ".join(" ".join(lines).split())
    assert "Made by edgekit 0." in text
    assert "int8-static, calibrated on data " in text
    assert "float32 (1, 3, 32, 32) NCHW" in text
    assert "preprocessing: the file does not say" in text
    assert "labels: 4: stripes, bars, squares ..." in text


def test_an_artifact_without_its_model_is_judged_by_what_can_be_known(project: Path, tmp_path: Path) -> None:
    path = next((project / "out").glob("*.onnx"))
    code, out = run(tmp_path, "validate", str(path), "-d", "pi4", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["size"]["verdict"] == checks["memory"]["verdict"] == "pass"
    assert (checks["accuracy_drop"]["verdict"], code) == ("not_run", 1)
    # Its file says what was requested of it; the demo's limit on accuracy is the demo's.
    assert (checks["accuracy_drop"]["limit"], checks["accuracy_drop"]["limit_from"]) == (1.0, "profile")
    assert (checks["integer_coverage"]["verdict"], checks["ignored_settings"]["verdict"]) == ("pass", "pass")


DETERMINANT = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.det(x)

def build():
    return Net()

def example_inputs():
    return (2 * torch.eye(4)[None],)
"""


def test_one_failing_format_does_not_stop_the_others(project: Path, tmp_path: Path) -> None:
    del project  # its cache is used
    (tmp_path / "model.py").write_text(DETERMINANT)
    arguments = ["model.py:build", "--example-inputs", "model.py:example_inputs", "-d", "pi4", "-o", "out", "--json"]
    code, out = run(tmp_path, "export", *arguments, "-f", "coreml,onnx", "-p", "fp32")
    data = json.loads(out)
    results = {entry["runtime"]: entry for entry in data["formats"]}
    assert (code, data["feasible"], data["passed"]) == (2, False, False)
    assert results["coreml"]["error"]["type"] == "ConversionError"
    assert "linalg_det" in results["coreml"]["error"]["message"]
    assert results["coreml"]["artifact"] is None
    assert results["onnx"]["error"] is None
    assert (tmp_path / "out" / results["onnx"]["artifact"]["path"]).is_file()


def test_integer_inputs_and_outputs_tell_their_scale(project: Path, tmp_path: Path) -> None:
    arguments = (
        "export",
        "-d",
        "pi4",
        "-f",
        "onnx",
        "-p",
        "int8",
        "--io",
        "int8",
        "-o",
        str(tmp_path / "out"),
        "--json",
    )
    data = json.loads(run(project, *arguments, *OPEN)[1])
    (artifact,) = data["artifacts"]
    for spec in (*artifact["inputs"], *artifact["outputs"]):
        assert spec["dtype"] in ("uint8", "int8")
        assert spec["scale"] > 0
        assert spec["zero_point"] is not None
    for snippet, validator in outputs_of_snippet(tmp_path / "out", "onnx").values():
        assert snippet == validator
