"""Advice works when it is followed: each printed command is run here."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.checks import Check, Verdict
from edgekit.cli.app import main
from edgekit.gating.outputs.advice import advise
from edgekit.gating.outputs.measuring import Place, how_to_measure, model_to_name
from edgekit.profiles.profile import find_profile

DEVICES = ("pi4", "jetson-nano", "pixel8", "galaxy-watch6", "iphone15", "apple-watch-s9")


def place(device: str, folder: Path, runtime: str = "tflite", suffix: str = ".tflite") -> Place:
    profile = find_profile(device, folder)
    return Place(
        device=device,
        kind=profile.kind,
        runtimes=profile.runtimes,
        runtime=runtime,
        artifact=folder / "my out" / f"net{suffix}",
        target=folder / "my out",
    )


def commands(text: str) -> list[list[str]]:
    """Returns the commands in a text: from `edgekit` to the end of the sentence."""
    return [shlex.split(found)[1:] for found in re.findall(r"edgekit .+?(?=\. |$)", text)]


def test_debug_is_given_the_model_that_no_task_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of_flags = {"source": "net.py:build", "embedded_default": False}
    assert model_to_name(of_flags) == "net.py:build"
    assert model_to_name({**of_flags, "embedded_default": True}) == ""  # the artifact says so itself
    assert model_to_name(None) == ""
    (tmp_path / "edgekit.toml").write_text("")
    assert model_to_name(of_flags) == ""
    check = Check(name="parity_floor", verdict="fail", value=1.0, limit=6.0, unit="dB")
    assert advise(check, "int8-static", replace(place("pi4", tmp_path), model="net.py:build")) == (
        "Look where it departs from the float model: edgekit debug 'my out/net.tflite' --model net.py:build, "
        "with --example-inputs and --calibration as for the export."
    )


def test_a_baseline_is_set_from_a_folder_and_where_it_was(tmp_path: Path) -> None:
    here = place("pi4", tmp_path)
    assert here.set_baseline.endswith("/my out'")
    assert replace(here, baseline="base line.json").set_baseline.endswith("/my out' -o 'base line.json'")
    assert replace(here, target=here.artifact).set_baseline == "edgekit baseline set DIR"


def test_data_for_a_folder_goes_to_its_export(tmp_path: Path) -> None:
    check = Check(name="accuracy_drop", verdict="not_run", limit=1.0, unit="pp")
    here = place("pi4", tmp_path)
    give = "Give evaluation data: [data] evaluation in edgekit.toml, or --evaluation."
    assert advise(check, "int8-static", replace(here, target=here.artifact)) == give
    assert advise(check, "int8-static", here) == f"{give} Then export again."


def latency(verdict: Verdict = "not_run") -> Check:
    return Check(name="latency", verdict=verdict, limit=10.0, unit="ms", basis="predicted")


@pytest.mark.parametrize("device", ["pixel8", "galaxy-watch6", "iphone15", "apple-watch-s9"])
@pytest.mark.parametrize("runtime", ["tflite", "onnx", "coreml", "executorch"])
def test_nobody_is_sent_to_a_phone_or_a_watch_by_ssh(device: str, runtime: str, tmp_path: Path) -> None:
    assert "ssh" not in how_to_measure(place(device, tmp_path, runtime))


def test_nothing_is_to_be_measured_where_it_does_not_run(tmp_path: Path) -> None:
    assert how_to_measure(place("pi4", tmp_path, "coreml")) == (
        "pi4 does not run coreml: judge it for a device that does, or make another format."
    )


@pytest.mark.parametrize("device", DEVICES)
def test_paths_and_the_device_are_filled_in(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(how_to_measure(place(device, tmp_path))):
        assert words[1] in ("my out/net.tflite", "my out")
        assert words[words.index("-d") + 1] == device


@pytest.mark.parametrize("device", ["pi4", "pixel8"])
def test_the_command_that_measures_is_understood(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # neither ssh nor adb reaches anything here
    (tmp_path / "my out").mkdir()
    (tmp_path / "my out" / "net.tflite").write_bytes(b"\0" * 64)
    (tmp_path / "benchmark_model").write_bytes(b"")
    bench, _ = commands(how_to_measure(place(device, tmp_path)))
    # The machine cannot, and the command is not wrong.
    assert main([word.replace("USER@HOST", "nobody@localhost:1") for word in bench]) == 3, capsys.readouterr().err


def test_the_command_that_imports_takes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my out").mkdir()
    (tmp_path / "my out" / "net.onnx").write_bytes(b"\0" * 64)
    (tmp_path / "profile.json").write_text(
        '{"execution_summary": {"estimated_inference_time": 1500, "all_inference_times": [1500, 1510]}}'
    )
    bench, gate = commands(how_to_measure(place("pixel8", tmp_path, "onnx", ".onnx")))
    assert main(bench) == 0, capsys.readouterr().err
    assert (tmp_path / "bench-pixel8-onnx.json").is_file()
    assert gate[-2:] == ["--measurements", "bench-pixel8-onnx.json"]


@pytest.mark.parametrize("name", ["size", "memory", "latency", "parity_floor", "outputs_alive", "delegate_coverage"])
def test_each_command_of_the_advice_has_options_that_exist(name: str, tmp_path: Path) -> None:
    check = Check(name=name, verdict="fail", value=1.0, limit=2.0, unit="ms")
    for words in commands(advise(check, "int8-static", place("pi4", tmp_path))):
        options = [word for word in words[1:] if word.startswith("-")]
        assert words[0] in ("gate", "debug", "plan")
        assert set(options) <= {"-d", "--why"}


def test_a_prediction_that_straddles_its_limit_says_how_to_measure(tmp_path: Path) -> None:
    text = advise(latency("inconclusive"), "int8-static", place("pixel8", tmp_path))
    assert text.startswith(
        "It is a prediction. Measure it there with TFLite's benchmark_model, built for its processor: "
    )
