"""Other tools' figures, bound to an artifact and a device."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.errors import DataError
from edgekit.measurements.imported import import_measurement
from edgekit.measurements.measurement import write_measurement


def artifact(folder: Path, size: int = 2000, suffix: str = ".tflite") -> Artifact:
    path = folder / f"net{suffix}"
    path.write_bytes(bytes(size))
    size_bytes, download_bytes, sha256 = measure_files(path)
    runtime = {".tflite": "tflite", ".onnx": "onnx"}[suffix]
    return Artifact(
        path=path,
        runtime=runtime,
        precision="unknown",
        size_bytes=size_bytes,
        download_bytes=download_bytes,
        sha256=sha256,
    )


def test_the_output_of_benchmark_model_becomes_a_measurement(tmp_path: Path, printed: Any) -> None:
    path = tmp_path / "out.txt"
    path.write_text(printed)
    os.utime(path, (0, 86400))
    made = import_measurement(path, artifact(tmp_path), "pixel8")
    assert (made.source, made.device, made.place) == ("TFLite benchmark_model", "pixel8", "out.txt")
    assert (made.threads, made.latency.value_ms, made.units) == (4, 26.16, ("CPU",))
    assert made.created == "1970-01-02T00:00:00+00:00"
    assert made.artifact.sha256 == artifact(tmp_path).sha256


def test_a_profile_of_ai_hub_becomes_a_measurement(tmp_path: Path, ai_hub_profile: Any) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(ai_hub_profile()))
    made = import_measurement(path, artifact(tmp_path, suffix=".onnx"), "galaxy-s24")
    assert (made.source, made.device, made.units) == ("Qualcomm AI Hub", "galaxy-s24", ("CPU", "NPU"))
    assert made.notes == ()


def test_an_estimate_is_said_to_be_one(tmp_path: Path, ai_hub_profile: Any) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(ai_hub_profile(all_inference_times=[])))
    made = import_measurement(path, artifact(tmp_path), "galaxy-s24")
    assert made.notes == ("AI Hub's own estimate of the latency; this job lists no single timings.",)


def refuse(path: Path, about: Artifact, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        import_measurement(path, about, "pi4")


def test_figures_of_a_file_of_another_size_are_refused(tmp_path: Path, printed: Any) -> None:
    path = tmp_path / "out.txt"
    path.write_text(printed)
    refuse(
        path,
        artifact(tmp_path, size=2002),
        f"{path}: benchmark_model measured a model of 2000 bytes (net.tflite); net.tflite has 2002. Give the file that "
        "was measured, or measure this one.",
    )


def test_figures_of_benchmark_model_are_of_tflite_only(tmp_path: Path, printed: Any) -> None:
    path = tmp_path / "out.txt"
    path.write_text(printed)
    refuse(
        path,
        artifact(tmp_path, suffix=".onnx"),
        f"{path}: benchmark_model runs TFLite files; net.onnx is for onnx. Give the .tflite file that was measured.",
    )


def test_a_measurement_of_edgekit_is_imported_already(tmp_path: Path, measurement: Any) -> None:
    path = tmp_path / "m.json"
    write_measurement(measurement(), path)
    refuse(
        path,
        artifact(tmp_path),
        f"{path}: this is a measurement file of edgekit already; give it to --measurements as it is.",
    )


@pytest.mark.parametrize("text", ["", "hello", '{"a": 1}'], ids=["empty", "text", "json"])
def test_a_file_of_neither_kind_is_refused(tmp_path: Path, text: str, printed: Any) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    refuse(
        path,
        artifact(tmp_path),
        f"{path}: neither the output of TFLite's benchmark_model nor a profile of Qualcomm AI Hub. Give all that "
        "benchmark_model printed, or the JSON file that job.download_profile(FILE) of qai-hub wrote.",
    )
