"""A head with boxes and scores in one output, exported to every format by the default command and run in each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.app import main

pytestmark = pytest.mark.runtime

MODEL = '''
import torch
from torch import nn

class Net(nn.Module):
    """Boxes 0 to 640 and scores 0 to 1 in one output; the scores say whether a quarter of the picture is bright."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 4, 4)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return torch.cat([(self.boxes(x).sigmoid() * 640).flatten(2), self.scores(x).sigmoid().flatten(2)], 1)

def build():
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.stem.weight.normal_(0, 0.3)
        net.scores.weight.normal_(0, 2)
        net.scores.bias.fill_(-1)
    return net

def example_inputs():
    return (torch.zeros(1, 1, 16, 16),)

def rows(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 1, 16, 16, generator=generator) * 4 - 2 for _ in range(count)]

def calibration():
    return [(row,) for row in rows(1, 100)]

def evaluation():
    net = build()
    return [((row,), (net(row)[:, 4:] > 0.5).float()) for row in rows(2, 60)]

def right(outputs, targets):
    import numpy as np
    return float(((np.asarray(outputs)[:, 4:] > 0.5) == (targets.reshape(-1, *outputs[:, 4:].shape[1:]) > 0.5)).mean())
'''
CONFIG = """
device = "pi4"
[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
{split}
[data]
calibration = "model.py:calibration"
evaluation = "model.py:evaluation"
metric = "model.py:right"
"""
FORMATS = "tflite,onnx,executorch,coreml"


def export(folder: Path, monkeypatch: pytest.MonkeyPatch, formats: str, split: str = "") -> dict[str, Any]:
    (folder / "model.py").write_text(MODEL)
    (folder / "edgekit.toml").write_text(CONFIG.format(split=split))
    monkeypatch.chdir(folder)
    main(["export", "--format", formats, "--precision", "int8", "-o", "out", "-q"])
    made: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return made


def drops(report: dict[str, Any]) -> dict[str, float]:
    checks = [check for entry in report["formats"] for check in entry["checks"] if check["name"] == "accuracy_drop"]
    return {check["runtime"]: check["value"] for check in checks}


def test_scores_survive_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = export(tmp_path, monkeypatch, FORMATS)
    assert [entry["recipe"]["float_heads"] for entry in report["formats"]] == [[0]] * 4
    found = drops(report)
    assert set(found) == set(FORMATS.split(","))
    assert max(found.values()) < 2
    plan = json.loads((tmp_path / "out" / "details.json").read_text())["plans"][0]
    (head,) = plan["heads"]
    assert head["output"] == "output"
    assert "decodes" in head["why"]
    assert head["latency_ms"] is not None


def test_split_outputs_are_judged_joined_and_joined_by_the_snippets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = export(tmp_path, monkeypatch, "tflite,coreml", "split_outputs = true")
    for entry in report["formats"]:
        assert [tensor["name"] for tensor in entry["artifact"]["outputs"]] == ["boxes", "scores"]
    assert max(drops(report).values()) < 2
    usage = tmp_path / "out" / "usage"
    python, swift, kotlin = (
        next(usage.glob(name)).read_text() for name in ("*_tflite.py", "*Coreml.swift", "*Tflite.kt")
    )
    assert 'np.concatenate([outputs["boxes"], outputs["scores"]], axis=1)' in python
    assert "all += boxes[(row * 64)..<((row + 1) * 64)]" in swift
    assert "boxes.copyInto(all, place, row * 64, (row + 1) * 64)" in kotlin
