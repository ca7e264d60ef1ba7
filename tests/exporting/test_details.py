"""details.json: what is in it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.exporting.details import details_json, read_details, write_details
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.report import ExportReport
from edgekit.recipe import Recipe

WEIGHTS = np.ones((4, 8, 1, 1), "f4")


def analysis() -> Any:
    builder = GraphBuilder()
    builder.store("w", WEIGHTS.shape, "float32", lambda: WEIGHTS)
    builder.tensor("x", (1, 8, 2, 2), "float32")
    builder.tensor("y", (1, 4, 2, 2), "float32")
    builder.tensor("z", (1, 4, 2, 2), "float32")
    builder.add(
        name="conv", type="conv2d", kernel="pointwise_conv", module="stem;fused", reads=["x", "w"], outputs=["y"],
        macs=128, roles={"w": ("kernel", 4)},
    )  # fmt: skip
    builder.add(name="tanh", type="tanh", kernel="elementwise", module="act", reads=["y"], outputs=["z"])
    return builder.finish(["x"], ["z"])


def report(folder: Path, sha256: str = "a" * 64) -> ExportReport:
    artifact = Artifact(
        path=folder / "net.onnx", runtime="onnx", precision="int8-static", size_bytes=9, download_bytes=9, sha256=sha256
    )
    recipe = Recipe(default="int8_static", overrides=(("act", "fp32"),))
    failed = FormatResult(runtime="coreml", recipe=Recipe(default="fp16"))
    made = FormatResult(runtime="onnx", recipe=recipe, artifact=artifact)
    return ExportReport(command="export", device="pi4", model=None, results=(made, failed), folder=folder)


def details(folder: Path, **more: Any) -> dict[str, Any]:
    return details_json(report(folder, **more), [], analysis(), {})


def test_operators_are_reported_once_and_their_costs_for_each_artifact(tmp_path: Path) -> None:
    made = details(tmp_path)
    assert made["operators"][0] == {
        "name": "conv", "type": "conv2d", "kernel": "pointwise_conv", "module": "stem", "shape": [1, 4, 2, 2],
        "macs": 128,
    }  # fmt: skip
    (onnx,) = made["formats"]
    assert onnx["precisions"] == ["int8_static", "fp32"]
    # 32 weights of a byte; a scale and a zero point for each of 4 channels come with them.
    assert onnx["stored_bytes"][0] > 32
    assert onnx["stored_bytes"][1] == 0
    assert onnx["predicted_ms"] is None


def test_memory_counts_activations_in_the_recipe_s_own_bytes(tmp_path: Path) -> None:
    memory = details(tmp_path)["formats"][0]["memory"]
    # The model's ends stay float: 128 bytes come in, 64 go out. Between them lie 16 bytes of integers.
    assert memory["alive_bytes"] == [128 + 16, 128 + 16 + 64]
    assert memory["peak_bytes"] == 208
    assert memory["peak_operator"] == "tanh"
    assert memory["peak_tensors"] == [
        {"name": "x", "bytes": 128, "shape": [1, 8, 2, 2], "written_by": None},
        {"name": "z", "bytes": 64, "shape": [1, 4, 2, 2], "written_by": "tanh"},
        {"name": "y", "bytes": 16, "shape": [1, 4, 2, 2], "written_by": "conv"},
    ]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    made = details(tmp_path)
    assert write_details(tmp_path, made) == tmp_path / "details.json"
    assert read_details(tmp_path, report(tmp_path).to_json()) == made


def refused(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_details(folder, report(folder).to_json())
    return caught.value.message.replace(str(folder), "DIR")


def test_a_folder_without_details_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "DIR: no details.json there: edgekit validate or an older edgekit wrote this folder. Run edgekit export again."
    )


def test_broken_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "details.json").write_text("{")
    assert refused(tmp_path) == (
        "DIR/details.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
        "(char 1). Run edgekit export again."
    )


@pytest.mark.parametrize(
    ("content", "version"), [([], "None"), ({"schema_version": 2}, "2"), ({"schema_version": True}, "True")]
)
def test_a_foreign_schema_is_refused(tmp_path: Path, content: object, version: str) -> None:
    (tmp_path / "details.json").write_text(json.dumps(content))
    assert refused(tmp_path) == (
        f"DIR/details.json: not details of an export that this edgekit reads (schema_version {version}, expected 1). "
        "Run edgekit export again."
    )


def test_details_of_another_export_are_refused(tmp_path: Path) -> None:
    write_details(tmp_path, details(tmp_path, sha256="b" * 64))
    assert refused(tmp_path) == (
        "DIR/details.json: it is about other artifacts than the report beside it: one of the two was replaced. "
        "Run edgekit export again."
    )
