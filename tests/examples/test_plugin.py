"""The example of a plug-in, installed as a user installs it: every command knows its format, metric and device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.join = torch.nn.Linear(8, 16), torch.nn.Linear(4, 16), torch.nn.Linear(32, 3)

    def forward(self, left, right):
        return self.join(torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], 1))


def build():
    torch.manual_seed(0)
    return Net().eval()


def example():
    return torch.ones(1, 8), torch.ones(1, 4)


def evaluation():
    torch.manual_seed(1)
    net = build()
    for _ in range(40):
        inputs = torch.randn(1, 8), torch.randn(1, 4)
        yield inputs, net(*inputs).detach()[0].numpy()
"""

TASK = """\
[model]
source = "model.py:build"
example_inputs = "model.py:example"
[data]
evaluation = "model.py:evaluation"
metric = "r_squared"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the distribution in it, built and installed without a network."""
    folder = tmp_path_factory.mktemp("plugin")
    source, target = folder / "source", folder / "target"
    shutil.copytree(ROOT / "examples" / "plugin", source, ignore=shutil.ignore_patterns("__pycache__", "build"))
    arguments = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target), str(source)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return target


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a model, a task file, and room for the output."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "model.py").write_text(MODEL)
    (folder / "edgekit.toml").write_text(TASK)
    return folder


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    paths = [str(installed), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "100"}
    environment.pop("EDGEKIT_CONFIG", None)
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def edgekit(installed: Path, folder: Path, *command: str) -> dict[str, object]:
    done = run(installed, folder, "-m", "edgekit", *command, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    data: dict[str, object] = json.loads(done.stdout)
    return data


@pytest.fixture(scope="module")
def exported(installed: Path, project: Path) -> Path:
    options = ("--device", "npz-board", "--format", "npz", "--technique", "clip_weights:deviations=2.5")
    edgekit(installed, project, "export", *options, "--precision", "fp32", "-o", "out", "--max-drop", "50 pp")
    return project / "out" / "model-fp32.npz"


@pytest.mark.runtime
def test_a_plan_chooses_the_plug_in_s_format_for_the_plug_in_s_device(installed: Path, project: Path) -> None:
    data = edgekit(installed, project, "plan", "--device", "NumPy Board", "--effort", "quick")
    assert (data["runtime"], data["device"]) == ("npz", "npz-board")
    predictions = {item["name"]: item["value"] for item in data["predictions"]}  # type: ignore[attr-defined]
    assert predictions["size"] > 4 * 323
    assert predictions["memory"] > predictions["size"]


@pytest.mark.runtime
def test_an_export_is_judged_by_the_plug_in_s_metric_and_brings_its_snippet(exported: Path) -> None:
    report = json.loads((exported.parent / "report.json").read_text())
    assert report["passed"] is True
    checks = {check["name"]: check for check in report["formats"][0]["checks"]}
    assert checks["accuracy_drop"]["detail"].startswith("r_squared ")
    assert checks["parity"]["value"] > 5
    assert checks["memory"]["basis"] == "measured"
    snippet = (exported.parent / "usage" / "model_fp32_npz.py").read_text()
    assert snippet.startswith('"""Runs model-fp32.npz with NumPy.')


@pytest.mark.runtime
@pytest.mark.parametrize("command", ["validate", "gate"])
def test_a_finished_artifact_can_be_validated_and_gated(
    installed: Path, project: Path, exported: Path, command: str
) -> None:
    data = edgekit(installed, project, command, str(exported), "--device", "npz-board", "--max-drop", "50 pp")
    assert data["passed"] is True


@pytest.mark.runtime
def test_a_finished_file_of_the_plug_in_s_format_is_judged_by_plan(
    installed: Path, tmp_path: Path, exported: Path
) -> None:
    file = shutil.copy(exported, tmp_path)
    data = edgekit(installed, tmp_path, "plan", str(file), "--device", "npz-board")
    checks = {check["name"]: check for check in data["formats"][0]["checks"]}  # type: ignore[index]
    assert data["formats"][0]["precision"] == "fp32"  # type: ignore[index]
    assert checks["size"]["value"] == exported.stat().st_size
    assert checks["memory"]["verdict"] == "pass"
    assert checks["delegate_coverage"]["value"] == 100
    assert checks["delegate_coverage"]["detail"].startswith("Of 0.000288 M multiply-accumulates, run by BLAS.")
    assert checks["accelerator_coverage"]["value"] == 100


@pytest.mark.runtime
def test_debug_compares_the_plug_in_s_artifact_layer_by_layer(installed: Path, project: Path, exported: Path) -> None:
    data = edgekit(installed, project, "debug", str(exported))
    assert data["how"] == "NumPy, the result of every operator kept"
    matched = {layer["operator"] for layer in data["layers"]}  # type: ignore[attr-defined]
    assert {"linear", "relu", "cat"} <= matched


@pytest.mark.runtime
def test_the_plug_in_passes_the_contracts_that_it_inherits(installed: Path, tmp_path: Path) -> None:
    tests = ROOT / "examples" / "plugin" / "tests"
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:anyio", "--import-mode=importlib", f"--rootdir={tests}")
    done = run(installed, tmp_path, "-m", "pytest", *options, "-c", os.devnull, str(tests))
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
