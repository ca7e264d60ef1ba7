"""The command `bench`, and its measurements in `validate` and `gate`."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli.app import main

BOARD = """\
schema = 1
title = "A board of mine"
kind = "other"
runtimes = ["onnx"]
[hardware]
cpu = "2 x Some-Core"
features = []
[budget]
latency = "10 s"
memory = "500 MB"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a profile of a board that any machine can be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "device_profiles" / "mine.toml").write_text(BOARD)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command line; returns its exit code and what it wrote."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.runtime
def test_a_host_is_timed_and_said_to_be_no_device(run: Any, tiny_onnx: Path) -> None:
    code, out, _ = run("bench", tiny_onnx, "--runs", 20, "-o", "m.json", "--threads", 2)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{tiny_onnx} (onnx, fp32)"
    assert lines[1].startswith("on this machine: ")
    assert lines[3].startswith("latency median ")
    assert lines[3].endswith("(95 %)")
    assert lines[4].startswith("latency p95 ")
    assert lines[4].endswith(" 20 runs, 2 threads")
    assert lines[5].startswith("load ")
    assert lines[6].startswith("memory ")
    assert lines[8] == (
        "This is this machine's time and no device's: validate and gate do not count it. If this machine is the "
        "device, say so with --device NAME."
    )
    assert lines[9] == "m.json"
    data = json.loads(Path("m.json").read_text())
    assert (data["device"], data["place"], data["artifact"]["runtime"]) == (None, "this machine", "onnx")
    code, _, err = run("validate", tiny_onnx, "-d", "mine", "--measurements", "m.json")
    assert code == 2
    assert err.startswith("edgekit: m.json names no device: it holds the time of ")


@pytest.mark.runtime
def test_a_machine_that_is_the_device_decides_the_verdict(run: Any, tiny_onnx: Path) -> None:
    code, out, _ = run("bench", tiny_onnx, "--runs", 20, "-o", "m.json", "-d", "mine", "--json")
    assert code == 0
    data = json.loads(out)
    assert list(data)[:3] == ["schema_version", "command", "device"]
    assert (data["command"], data["device"], data["runtime"], data["path"]) == ("bench", "mine", "onnx", "m.json")
    assert data["measurement"] == json.loads(Path("m.json").read_text())
    for limit, verdict in (("10 s", "pass"), ("1 us", "fail")):
        _, out, _ = run(
            "validate", tiny_onnx, "-d", "mine", "--measurements", "m.json", "--max-latency", limit, "--json"
        )
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        assert checks["latency"]["verdict"] == verdict
        for name in ("latency", "latency_p95", "memory"):
            assert (checks[name]["basis"], checks[name]["measured_on"]) == ("imported", "mine")
        assert checks["latency"]["value"] == pytest.approx(data["measurement"]["latency"]["value_ms"])
        assert "from m.json" in checks["latency"]["detail"]
    _, out, _ = run("gate", tiny_onnx, "-d", "mine", "--measurements", "m.json")
    assert any("peak memory" in line and "imported" in line for line in out.splitlines())


@pytest.mark.runtime
def test_outputs_on_samples_are_kept(run: Any, tiny_onnx: Path) -> None:
    np.savez("inputs.npz", x=np.ones((2, 4), np.float32))
    code, _, _ = run("bench", tiny_onnx, "--runs", 10, "--data", "inputs.npz", "--outputs", "kept", "-q")
    assert code == 0
    assert sorted(path.name for path in Path("kept").iterdir()) == ["0.npy", "samples.json"]
    assert np.load("kept/0.npy").shape == (2, 3)


def test_another_tools_figures_become_a_measurement(run: Any) -> None:
    Path("net.tflite").write_bytes(bytes(2000))
    Path("job.json").write_text(json.dumps({"execution_summary": {"all_inference_times": [2000] * 10}}))
    code, out, _ = run("bench", "net.tflite", "--from", "job.json", "-d", "mine", "-o", "m.json")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:2] == ["net.tflite (tflite, unknown)", "on job.json: Qualcomm AI Hub"]
    assert lines[3] == "latency median 2 ms 2 ms to 2 ms (95 %)"
    assert lines[5:7] == ["load not measured", "memory not measured"]
    assert lines[8] == "These are mine's figures, because --device says that this is one."
    assert json.loads(Path("m.json").read_text())["source"] == "Qualcomm AI Hub"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--from", "x"],
            "--from x needs --device NAME: the file does not say which device profile it was measured on.",
        ),
        (
            ["--from", "x", "--on", "adb", "-d", "mine"],
            "--from takes figures from a file and --on measures: give one of them.",
        ),
        (["--outputs", "x"], "--outputs keeps the outputs on sample inputs: give them too, with --data."),
    ],
    ids=["no device", "two sources", "no data"],
)
def test_flags_that_do_not_go_together_are_refused(run: Any, arguments: list[str], message: str) -> None:
    Path("net.tflite").write_bytes(bytes(20))
    assert run("bench", "net.tflite", *arguments) == (2, "", f"edgekit: {message}\n")


def test_a_laptop_is_no_raspberry_pi(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    Path("net.tflite").write_bytes(bytes(20))
    code, _, err = run("bench", "net.tflite", "-d", "pi4", "-q")
    assert code == 2
    assert err == (
        "edgekit: this machine is no pi4: its processor is x86_64, and Raspberry Pi 4 Model B (4 GB) has Cortex-A72. "
        "Its time would be taken for the device's. Measure without --device, or on the device itself.\n"
    )
