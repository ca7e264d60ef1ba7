"""An export folder without any framework: two formats, figures made up, files of known size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import Artifact, measure_files
from edgekit.checks import Check, judge
from edgekit.errors import ConversionError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport
from edgekit.metrics.item_scores import encode_scores
from edgekit.model import CapturedModel
from edgekit.recipe import Recipe

TASK = """\
[model]
source = "net.onnx"

[budget]
size = "2 kB"                # a comment
accuracy_drop = { limit = "0.5 pp", level = "warn" }

[regression]
size = "+5 %"
accuracy = "-0.5 pp"

[devices.pixel8]
budget.memory = "1 MB"
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "CONFIG", "BASELINE", "MAX_REGRESSION", "MAX_SIZE"):
        monkeypatch.delenv(f"EDGEKIT_{name}", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def make_export() -> Callable[..., Path]:
    """Returns a function that writes an export: one artifact of `size` bytes, right on all but `wrong` of 400 items."""

    def make(
        folder: Path,
        *,
        size: int = 2000,
        wrong: int = 20,
        failed: bool = False,
        seed: int = 0,
        more: tuple[Check, ...] = (),
        slices: list[dict[str, Any]] | None = None,
        model: CapturedModel | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "net-int8-static.tflite"
        path.write_bytes(np.random.default_rng(seed).bytes(size))
        size_bytes, download, digest = measure_files(path)
        artifact = Artifact(
            path=path,
            runtime="tflite",
            precision="int8-static",
            size_bytes=size_bytes,
            download_bytes=download,
            sha256=digest,
        )
        scores = np.ones(400)
        scores[:wrong] = 0
        checks = (
            judge("size", float(size_bytes), None, runtime="tflite", measured_on="file"),
            judge("download", float(download), None, runtime="tflite", measured_on="file"),
            judge("accuracy_drop", wrong / 4, None, low=wrong / 8, high=wrong / 2, runtime="tflite", detail="400."),
            judge("memory", 500_000.0, None, runtime="tflite", measured_on="host: test"),
            *more,
        )
        host = {
            "runtime": "ai-edge-litert 2.3.0",
            "accuracy": {"metric": "top1", "value": 100 - wrong / 4, "count": 400, "items": encode_scores(scores)},
            "slices": slices or [],
        }
        results = [
            FormatResult(
                runtime="tflite", recipe=Recipe(default="int8_static"), artifact=artifact, checks=checks, host=host
            )
        ]
        if failed:
            results.append(FormatResult(runtime="onnx", recipe=Recipe(), error=ConversionError("No kernel for fft.")))
        write_report(
            ExportReport(
                command="export",
                device="pixel8",
                model=model,
                results=tuple(results),
                data={"metric": "top1", "evaluation": {"count": 400, "items": 400, "sha256": "e" * 64}},
                folder=folder,
            )
        )
        return folder

    return make


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_export: Callable[..., Path]) -> Path:
    """A folder with a task file and an export that misses its budgets; it is the current folder."""
    (tmp_path / "edgekit.toml").write_text(TASK)
    make_export(tmp_path / "out", size=2100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def write_onnx() -> Callable[..., None]:
    """Returns a function that writes an ONNX model: matrix products one after the other, input `x` (1, width)."""

    def write(path: Path, *, width: int, layers: int, seed: int = 0) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        generator = np.random.default_rng(seed)
        scale = width**-0.5
        names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
        graph = helper.make_graph(
            [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(layers)],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, width))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, width))],
            [
                numpy_helper.from_array((scale * generator.standard_normal((width, width))).astype(np.float32), f"w{i}")
                for i in range(layers)
            ],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    return write
