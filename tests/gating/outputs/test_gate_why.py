"""`edgekit gate --why`: what costs most and what loses most. The model is a fake: nothing is captured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.cli.app import main
from edgekit.errors import ModelError
from edgekit.model import CapturedModel


@pytest.fixture
def captured(project: Path, monkeypatch: pytest.MonkeyPatch) -> CapturedModel:
    """A model of two convolutions, as if from the cache; the second holds nearly all weights."""
    builder = GraphBuilder()
    generator = np.random.default_rng(0)
    shapes = {"stem.weight": (10, 1, 3, 3), "head.weight": (100, 10, 1, 1)}
    for name, shape in shapes.items():
        builder.store(name, shape, "float32", lambda shape=shape: generator.standard_normal(shape).astype("f4"))
    for name, channels in (("x", 1), ("a", 10), ("y", 100)):
        builder.tensor(name, (1, channels, 8, 8), "float32")
    for name, kernel, reads, output in (
        ("stem", "dense_conv", ["x", "stem.weight"], "a"),
        ("head", "pointwise_conv", ["a", "head.weight"], "y"),
    ):
        weight = reads[1]
        builder.add(
            name=name,
            type="conv2d",
            kernel=kernel,
            module=name,
            reads=reads,
            outputs=[output],
            macs=64 * int(np.prod(shapes[weight])),
            roles={weight: ("kernel", shapes[weight][0])},
        )
    analysis = builder.finish(["x"], ["y"])
    model = CapturedModel(
        name="net",
        source="net.onnx",
        source_kind="onnx",
        kind="onnx",
        path=project / "net.onnx",
        inputs=(),
        outputs=(),
        digest="d",
        parameters=analysis.parameters,
        macs=analysis.macs,
        family="cnn",
    )
    monkeypatch.setattr("edgekit.pipeline.capture.capture_model", lambda *_, **__: model)
    monkeypatch.setattr("edgekit.pipeline.analysis.analyze_model", lambda *_: analysis)
    return model


def why(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    main(["gate", "out", "-d", "pixel8", "-q", "--why", *arguments])
    out = capsys.readouterr().out
    return out.split("FAIL pixel8\n" if "FAIL pixel8\n" in out else "PASS pixel8\n")[1].splitlines()


def test_the_layers_that_take_most_bytes_are_shown(captured: CapturedModel, capsys: pytest.CaptureFixture[str]) -> None:
    del captured
    found = why(capsys)
    assert found[0].startswith("size: the weights of")
    assert found[2].split()[:2] == ["conv2d", "head"]
    assert not any(line.startswith(("work", "memory")) for line in found)


def test_every_table_is_shown_where_nothing_was_missed(
    captured: CapturedModel, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del captured
    (project / "edgekit.toml").write_text('[model]\nsource = "net.onnx"\n[budget]\naccuracy_drop = "20 pp"\n')
    titles = [line.partition(":")[0] for line in why(capsys) if ":" in line]
    assert titles == ["size", "memory", "work"]


def test_the_slices_that_lose_most_are_shown_first(
    captured: CapturedModel, project: Path, make_export: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    del captured
    part = {"kind": "slice", "count": 40, "low": 0.0, "high": 9.0, "detectable": None}
    slices = [
        {**part, "name": "day", "drop": 1.0},
        {**part, "name": "night", "drop": 5.0},
        {**part, "name": "dusk", "drop": None, "low": None, "high": None},
    ]
    make_export(project / "out", size=2100, slices=slices)
    path = project / "out" / "report.json"
    report: dict[str, Any] = json.loads(path.read_text())
    report["formats"][0]["float_fallbacks"] = ["softmax"]
    path.write_text(json.dumps(report))
    assert [line.rstrip() for line in why(capsys)[:5]] == [
        "tflite int8-static: stays float: softmax",
        "tflite int8-static: slices that lose most",
        "slice  items     drop                band",
        "night     40  5.00 pp  0.00 pp to 9.00 pp",
        "day       40  1.00 pp  0.00 pp to 9.00 pp",
    ]


def test_without_the_float_model_it_says_so(
    captured: CapturedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> CapturedModel:
        raise ModelError("net.onnx: no such file.")

    del captured
    monkeypatch.setattr("edgekit.pipeline.capture.capture_model", fail)
    assert why(capsys) == ["--why needs the float model: net.onnx: no such file."]


def test_another_model_than_the_exported_one_is_reported(
    captured: CapturedModel,
    project: Path,
    make_export: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_export(project / "out", size=2100, model=dataclasses.replace(captured, source="net.onnx", digest="other"))
    monkeypatch.setattr(
        "edgekit.pipeline.capture.capture_model", lambda *_, **__: dataclasses.replace(captured, digest="new")
    )
    assert why(capsys)[0] == "The float model has changed since the export; these are its layers now."
