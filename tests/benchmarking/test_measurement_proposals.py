"""Which models to measure before a calibration: of a user's own, or of well-known ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgekit.benchmarking.known_models import KNOWN_MODELS
from edgekit.benchmarking.measurement_proposals import find_group, propose_measurements
from edgekit.cli.app import main
from edgekit.errors import UsageError
from edgekit.pipeline.settings import Settings
from edgekit.predict.latency_features import TERMS
from edgekit.profiles.profile import DeviceProfile, find_profile


@pytest.fixture
def pi4(tmp_path: Path) -> DeviceProfile:
    return find_profile("pi4", tmp_path)


def test_known_models_are_proposed_where_none_are_named(pi4: DeviceProfile, tmp_path: Path) -> None:
    found = propose_measurements(pi4, ("tflite", "fp32"), (), Settings(), tmp_path, count=3)
    assert len({one.name for one in found}) == 3
    assert all(one.name in KNOWN_MODELS for one in found)


def test_known_models_have_work_of_known_kinds_and_together_nearly_every_kind() -> None:
    kinds = {term for work in KNOWN_MODELS.values() for term in work}
    assert kinds <= set(TERMS)
    assert set(TERMS) - kinds <= {"recurrent_macs"}


@pytest.mark.parametrize(
    ("runtime", "precision", "group"),
    [("", "", ("tflite", "fp32")), ("onnx", "", ("onnx", "fp32")), ("", "int8-static", ("tflite", "int8_static"))],
    ids=["preferred", "format", "precision"],
)
def test_the_preferred_rates_are_meant_where_nothing_else_was_requested(
    pi4: DeviceProfile, runtime: str, precision: str, group: tuple[str, str]
) -> None:
    assert find_group(pi4, runtime, precision) == group


def test_rates_that_a_profile_lacks_are_refused_with_those_that_it_has(pi4: DeviceProfile) -> None:
    message = (
        "pi4 has no latency model for coreml fp32; it has tflite fp32, tflite int8-static, onnx fp32, "
        "onnx int8-static, executorch fp32, executorch int8-static. Name one of these with --format and --precision, "
        "or a device with the same processor."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        find_group(pi4, "coreml", "fp32")


def test_the_command_prints_what_to_measure_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["devices", "calibrate", "pi4", "--propose", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["runtime"], printed["precision"], len(printed["proposed"])) == ("tflite", "fp32", 2)
    assert printed["proposed"][0]["spread"] >= printed["proposed"][1]["spread"]
    assert list(tmp_path.iterdir()) == []
    assert main(["devices", "calibrate", "pi4", "--propose", "1"]) == 0
    assert "edgekit devices calibrate pi4 --from FILE.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--propose", "2", "--from", "x.json"],
            "--propose says what to measure, --from brings measurements: give one of them.",
        ),
        ([], "Nothing to calibrate on: give measurements with --from, or --propose 3 to hear which to make."),
    ],
    ids=["both", "neither"],
)  # fmt: skip
def test_proposals_and_measurements_are_given_one_at_a_time(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["devices", "calibrate", "pi4", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
