"""From a plan with simulations to the artifact that it chose: one small trained model, real converters and runtimes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

LIMITS = ["--max-size", "20 kB", "--max-drop", "30 pp"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A scaffolded project, planned with `--effort default`."""
    folder = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(folder)
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
    try:
        assert main(["init"]) == 0
        arguments = [
            "plan",
            "--device",
            "pi4",
            "--effort",
            "default",
            "-o",
            "plan.json",
            "-q",
            "--prefer",
            "accuracy",
            *LIMITS,
        ]
        assert main(arguments) == 0
        yield folder
    finally:
        patch.undo()
        os.chdir(before)


def test_the_plan_was_simulated_and_its_layers_measured(project):
    made = json.loads((project / "plan.json").read_text())
    drop = next(item for item in made["predictions"] if item["name"] == "accuracy_drop")
    assert (made["effort"], drop["evidence"]) == ("default", "simulated")
    assert len(made["sensitivity"]) == 5
    assert not list(project.glob(".partial-*"))


def test_export_carries_out_the_plan_and_stands_by_its_predictions(project, capsys):
    made = json.loads((project / "plan.json").read_text())
    assert main(["export", "--plan", "plan.json", "-o", "out"]) == 0
    report = json.loads((project / "out" / "report.json").read_text())
    (result,) = report["formats"]
    assert (result["runtime"], result["recipe"]) == (made["runtime"], made["recipe"])
    compared = {item["name"]: item for item in result["predicted_and_measured"]}
    assert {"size", "download", "memory", "accuracy_drop", "parity"} <= set(compared)
    assert abs(compared["parity"]["error"]) < 3
    assert compared["accuracy_drop"]["in_band"]
    text = capsys.readouterr().out
    assert "predicted beside measured" in text


def test_an_interrupted_plan_ends_with_130_and_goes_on_where_it_stopped(project, tmp_path):
    cache = tmp_path / "cache"
    # What is interrupted are the simulations: the model and its data are taken from the first plan.
    shutil.copytree(project / "cache", cache, ignore=shutil.ignore_patterns("simulations"))
    environment = {**os.environ, "EDGEKIT_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    # A shell's background job has Ctrl-C switched off and passes that on: this suite may be one.
    program = (
        "import signal, sys; from edgekit.cli.app import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "plan", "--device", "pi4", "-f", "onnx", "--effort", "default", *LIMITS]
    running = subprocess.Popen(
        command,
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not list(cache.glob("simulations/*/calibrated-*.json")) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Finished work is kept" in err
    kept = {path.name for path in cache.glob("simulations/*/*.json")}
    again = subprocess.run([*command, "-q"], cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert kept <= {path.name for path in cache.glob("simulations/*/*.json")}
