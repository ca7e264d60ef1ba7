"""A sweep's INT8 is the one that an export makes: another recipe where the first is far from the float model."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgekit
from edgekit.pipeline.settings import Settings
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, run_sweep
from edgekit.sweeping.rows import Row

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # torch warns while it exports

NET = """
import torch
from torch import nn


class Decades(nn.Module):
    # One grid of 8 bits for both features of the bottleneck leaves nothing of the small one, which half of the outputs
    # read alone.

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Linear(2, 2, bias=False), nn.Linear(2, 32, bias=False)
        self.narrow.weight.data = torch.diag(torch.tensor([1.0, 1e-3]))
        self.wide.weight.data = torch.randn(32, 2) * torch.tensor([[1.0, 0.0], [0.0, 1e3]]).repeat(16, 1)

    def forward(self, x):
        return self.wide(self.narrow(x))


def build():
    torch.manual_seed(0)
    return Decades().eval()


def example_inputs():
    return (torch.zeros(1, 2),)


def calibration(seed=1, rows=32):
    return list(torch.randn(rows, 1, 2, generator=torch.Generator().manual_seed(seed)).unbind())


def evaluation():
    return [((row,), torch.zeros(1, dtype=torch.int64)) for row in calibration(seed=2, rows=16)]
"""

CONFIG = """
[model]
source = "net.py:build"
example_inputs = "net.py:example_inputs"
[data]
calibration = "net.py:calibration"
evaluation = "net.py:evaluation"
metric = "agreement"
"""

MATRIX = """
models = ["net.py:build"]
devices = ["pi4", "pixel8"]
formats = ["onnx"]
precisions = ["int8", "int8-static"]
"""


def test_what_is_far_in_int8_is_made_as_an_export_makes_it_and_what_was_spelled_out_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "edgekit.toml").write_text(CONFIG)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    swept = run_sweep(SweepRequest.read(tmp_path / "matrix.toml", SweepFlags(), tmp_path / "out", {}), Settings(jobs=1))
    assert [row.message for row in swept.rows] == [""] * 4
    rows = {(row.device, row.precision): row for row in swept.rows}

    exported = edgekit.export(device="pi4", formats="onnx", precision="int8", output=tmp_path / "single", strict=False)
    assert exported.artifacts["onnx"].precision == rows["pi4", "int8"].made != "int8-static"
    for device in ("pi4", "pixel8"):
        chosen, spelled_out = rows[device, "int8"], rows[device, "int8-static"]
        assert chosen.artifact_sha256 == exported.artifacts["onnx"].sha256
        assert spelled_out.made == "int8-static"
        assert value(chosen, "parity") > 15.0 > value(spelled_out, "parity")


def value(row: Row, name: str) -> float:
    return next(check.value for check in row.checks if check.name == name and check.value is not None)
