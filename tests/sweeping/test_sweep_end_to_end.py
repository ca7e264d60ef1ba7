"""Two models on two devices in two formats, with real converters and runtimes: what is shared is done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.pipeline.settings import Settings
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, read_sweep, run_sweep

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # torch warns while it exports

NET = """
from pathlib import Path

import torch
from torch import nn

CALLS = Path(__file__).with_name("calls.txt")


def build(width=4):
    with CALLS.open("a") as stream:
        stream.write(f"{width}\\n")
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2)).eval()


def example_inputs():
    return (torch.zeros(1, 6),)


def evaluation():
    torch.manual_seed(1)
    return [((torch.randn(8, 6),), torch.zeros(8, dtype=torch.int64))]
"""

MATRIX = """
models = ["net.py:build", {source = "net.py:build(width=8)", name = "wide"}]
devices = ["pi4", "pixel8"]
formats = ["tflite", "onnx"]
precisions = ["fp32"]
"""

CONFIG = """
[model]
source = "net.py:build"
example_inputs = "net.py:example_inputs"
[data]
evaluation = "net.py:evaluation"
metric = "agreement"
"""


def test_a_sweep_captures_a_model_once_converts_once_a_format_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "edgekit.toml").write_text(CONFIG)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    out = tmp_path / "out"

    def sweep(**flags: int) -> SweepRequest:
        return SweepRequest.read(tmp_path / "matrix.toml", SweepFlags(**flags), out, {})

    first = run_sweep(sweep(jobs=4), Settings(jobs=2))
    assert first.driven.started == 4
    assert 0 < first.missing <= 8

    second = run_sweep(sweep(), Settings(jobs=2))
    assert second.missing == 0
    assert {row.message for row in second.rows} == {""}
    assert {(row.model, row.format) for row in second.rows} == {
        (model, name) for model in ("net.py:build", "wide") for name in ("tflite", "onnx")
    }
    assert first.converted + second.converted == 4
    assert len(list((tmp_path / "cache" / "artifacts").iterdir())) == 4
    assert len(list((tmp_path / "cache" / "runs").iterdir())) == 4
    # Once a model in each sweep: user code may have changed in between.
    assert sorted((tmp_path / "calls.txt").read_text().split()) == ["4", "4", "8", "8"]
    for group in {(row.model, row.format) for row in second.rows}:
        shared = {row.artifact_sha256 for row in second.rows if (row.model, row.format) == group}
        assert len(shared) == 1

    third = run_sweep(sweep(), Settings(jobs=2))
    assert third.driven.started == 2
    assert {device: tally.cached for device, tally in third.tallies.items()} == {"pi4": 4, "pixel8": 4}
    assert third.rows == second.rows == read_sweep(out).rows

    (tmp_path / "net.py").write_text(NET.replace("manual_seed(0)", "manual_seed(5)"))
    fourth = run_sweep(sweep(), Settings(jobs=2))
    assert sum(tally.done for tally in fourth.tallies.values()) == 8
