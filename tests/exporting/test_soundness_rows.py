"""Exports without evaluation data: outputs are compared all the same, and accuracy stays not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgekit

pytestmark = pytest.mark.runtime


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def export(folder: Path, **settings: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 4))
    made = edgekit.export(
        model.eval(), inputs={"input": (1, 3, 8, 8)}, device="pi4", output=str(folder / "out"),
        strict=False, without=["accuracy"], **settings,
    )  # fmt: skip
    return made.to_json()["formats"][0]


def found(item: dict[str, Any]) -> dict[str, Any]:
    return {check["name"]: check for check in item["checks"]}


def test_float_outputs_are_compared_on_made_up_inputs(cached):
    item = export(cached, precision="fp32", formats="onnx")
    checks = found(item)
    assert checks["parity"]["value"] > 90
    assert checks["outputs_alive"]["verdict"] == "pass"
    assert checks["accuracy"]["value"] is None
    assert item["host"]["compared_on"] == "8 rows of made-up inputs"


def test_integers_are_compared_on_calibration_samples(cached):
    rows = [np.random.default_rng(i).random((1, 3, 8, 8), dtype=np.float32) for i in range(80)]
    item = export(cached, precision="int8", formats="onnx", calibration=rows)
    assert 20 < found(item)["parity"]["value"] < 80
    assert found(item)["parity_floor"]["verdict"] == "pass"
    assert item["host"]["compared_on"] == "64 rows of calibration data"
