"""What stands between a model and a format, found before anything is promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ConversionError, ModelError
from edgekit.model import CapturedKind, CapturedModel
from edgekit.task.task import Task
from edgekit.trials import obstacles
from edgekit.trials.obstacles import find_obstacles


def captured(kind: CapturedKind) -> CapturedModel:
    return CapturedModel(
        name="net", source="net.onnx", source_kind="onnx", kind=kind, path=Path("float"), inputs=(), outputs=(),
        digest="d", parameters=1, macs=1, family="cnn",
    )  # fmt: skip


def found(monkeypatch: pytest.MonkeyPatch, kind: CapturedKind, *, imports: bool = True, trial: bool = False) -> Any:
    def capture(*_args: Any, as_torch: bool) -> CapturedModel:
        assert as_torch
        if not imports:
            raise ModelError("net.onnx holds Loop\nmore")
        return captured("pt2")

    def convert(model: CapturedModel, runtime: str, *_args: Any) -> None:
        assert model.kind == ("onnx" if runtime == "onnx" and kind == "onnx" else "pt2")
        if runtime == "executorch":
            raise ConversionError("no kernel for aten::foo\nmore")

    monkeypatch.setattr(obstacles, "capture_model", capture)
    monkeypatch.setattr(obstacles, "convert", convert)
    monkeypatch.setattr(obstacles, "why_not_made", lambda *_: lambda *_: None)
    monkeypatch.setattr("edgekit.pipeline.analysis.analyze_model", lambda *_: None)
    task, settings = Task(model="net.onnx", base=Path()), object()
    formats = ("tflite", "onnx", "executorch")
    given: Any = settings
    return [(x.runtime, x.reason) for x in find_obstacles(task, captured(kind), formats, given, trial=trial)]


def test_an_onnx_file_that_cannot_be_imported_reaches_no_other_format(monkeypatch):
    assert found(monkeypatch, "onnx", imports=False) == [
        ("tflite", "net.onnx holds Loop"),
        ("executorch", "net.onnx holds Loop"),
    ]


def test_without_a_trial_nothing_else_is_tried(monkeypatch):
    assert found(monkeypatch, "onnx") == []
    assert found(monkeypatch, "pt2", imports=False) == []


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_trial_finds_what_a_converter_cannot_hold(monkeypatch, kind):
    assert found(monkeypatch, kind, trial=True) == [("executorch", "no kernel for aten::foo")]
