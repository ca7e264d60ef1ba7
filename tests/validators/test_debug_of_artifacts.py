"""Debugging of real artifacts of all formats. Here, for the tiny artifacts of this folder cost half a minute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def reports(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    model = {
        "name": "tiny",
        "source": "tiny.py:build",
        "source_kind": "torch",
        "kind": "pt2",
        "path": str(tiny / "tiny.pt2"),
        "inputs": [],
        "outputs": [],
        "digest": "",
        "parameters": 1,
        "macs": None,
        "family": "cnn",
        "family_evidence": "",
        "embedded_default": False,
        "metadata": {},
    }
    (tiny / "tiny.json").write_text(json.dumps(model))
    script = Path(__file__).with_name("plant_faults.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tiny), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "reports.json").read_text())


@pytest.mark.parametrize("name", ["sound onnx", "sound executorch", "sound coreml"])
def test_a_sound_artifact_has_no_fault_inside(reports, name):
    report = reports[name]
    assert report["first_departure"] is None
    assert not any(suspect["is_fault"] for suspect in report["suspects"])
    assert {"conv2d", "relu"} & {layer["node"] for layer in report["layers"]}


@pytest.mark.parametrize("name", ["sound onnx", "sound executorch", "sound coreml"])
def test_reading_inner_tensors_does_not_change_the_outputs(reports, name):
    assert reports[name]["inside_agreement_db"] > 100


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("damaged.onnx", "ArtifactError: damaged.onnx cannot be read as ONNX: ", " Copy or export it again."),
        ("damaged.tflite", "ArtifactError: damaged.tflite cannot be loaded by LiteRT: ", " Copy or export it again."),
        ("damaged.pte", "ArtifactError: damaged.pte cannot be read as a program: ", " Copy or export it again."),
        (
            "no_forward.pte",
            "ArtifactError: The program has no method forward.",
            " Export it with edgekit or torch.export.",
        ),
        (
            "other_header.pte",
            (
                "ArtifactError: An XNNPACK payload of the program has no XH00 header: another version of ExecuTorch "
                "wrote it."
            ),
            " Export the program again with the ExecuTorch that is installed.",
        ),
    ],
)
def test_a_file_whose_insides_cannot_be_read_is_an_artifact_error(reports, name, start, end):
    message = reports["messages"][name]
    assert message.startswith(start)
    assert message.endswith(end)


@pytest.mark.parametrize(
    ("name", "cause", "words"),
    [
        ("zero point", "zero_point", "the grid has the right width and the wrong place"),
        ("saturated", "range_clips", "of the values saturate"),
        ("swapped", "swapped_channels", "in the order 2, 1, 0 (RGB and BGR swapped)"),
        ("lost", "lost_activation", 'the activation relu "relu" is missing'),
    ],
)
def test_a_planted_fault_is_the_first_suspect(reports, name, cause, words):
    first = reports[name]["suspects"][0]
    assert (first["cause"], first["is_fault"]) == (cause, True)
    assert words in first["sentence"]
    assert first["explained_share"] > 0.9
