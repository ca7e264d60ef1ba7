"""Predicted sizes beside files that the real converters write. Seconds each, in worker processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.formats.table import find_format
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import convert
from edgekit.pipeline.settings import Settings
from edgekit.planner.recipes import resolve_precision
from edgekit.predict.memory import predict_memory
from edgekit.predict.size import predict_size
from edgekit.samples import write_samples
from edgekit.task.task import model_task
from edgekit.workers.cache import Cache

pytestmark = pytest.mark.runtime

MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 64, 3, stride=2, padding=1)
        self.body = torch.nn.Conv2d(64, 256, 3, padding=1)
        self.narrow = torch.nn.Conv2d(256, 128, 3, padding=1)
        self.head = torch.nn.Linear(128, 100)

    def forward(self, x):
        x = torch.relu(self.body(torch.relu(self.stem(x))))
        x = torch.nn.functional.relu6(self.narrow(x))
        return self.head(x.mean((2, 3)))

def build():
    return Net().eval()

def example_inputs():
    return (torch.zeros(1, 3, 32, 32),)
"""
# The other pairs of format and precision: benchmarks/size_prediction.py.
CASES = [
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("tflite", "int8"),
    ("executorch", "int8"),
]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A CNN of 0.46 M weights (1.8 MB in float32), its analysis, calibration samples, and settings."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "model.py").write_text(MODEL)
    settings = Settings(cache=Cache(root=folder / "cache"))
    task = model_task("model.py:build", folder)
    task = type(task)(model=task.model, base=task.base, example_inputs="model.py:example_inputs")
    model = capture_model(task, settings)
    random = np.random.default_rng(0)
    rows = [(random.standard_normal((1, 3, 32, 32)).astype(np.float32),) for _ in range(4)]
    samples = write_samples(folder / "samples", [spec.name for spec in model.inputs], rows)
    return model, analyze_model(model, settings), samples, settings


@pytest.mark.parametrize(("runtime", "preset"), CASES, ids=[f"{r} {p}" for r, p in CASES])
def test_files_have_the_predicted_size(captured, runtime, preset):
    model, analysis, samples, settings = captured
    if missing := find_format(runtime).missing():
        pytest.skip(f"{missing} is not installed")
    recipe = resolve_precision(preset, analysis.family, runtime)
    size, download = predict_size(analysis, recipe, runtime)
    artifact = convert(model, runtime, recipe, samples, settings).artifact
    assert size.low <= artifact.size_bytes <= size.high
    if artifact.size_bytes > 1_000_000:
        assert size.value == pytest.approx(artifact.size_bytes, rel=0.01)
    assert download.value == pytest.approx(artifact.download_bytes, rel=0.05)


# Files that were made above.
@pytest.mark.parametrize(("runtime", "preset"), [("onnx", "fp32"), ("tflite", "int8"), ("executorch", "int8")])
def test_memory_is_within_its_band(captured, runtime, preset, tmp_path):
    """The peak of a fresh process of the real runtime; a small model's is mostly the runtime's own."""
    import json
    import subprocess
    import sys

    import edgekit.validators

    model, analysis, samples, settings = captured
    if missing := find_format(runtime).missing():
        pytest.skip(f"{missing} is not installed")
    recipe = resolve_precision(preset, analysis.family, runtime)
    artifact = convert(model, runtime, recipe, samples, settings).artifact
    runner = Path(edgekit.validators.__path__[0]) / "runners" / "runner.py"
    record = tmp_path / "record.json"
    arguments = ["--runtime", runtime, "--artifact", artifact.path, "--modes", "memory", "--samples", samples.folder]
    subprocess.run(
        [sys.executable, runner, *map(str, arguments), "--record", str(record)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    memory = json.loads(record.read_text())["memory"]
    found = predict_memory(analysis, recipe, runtime)
    assert found.low <= memory["peak_bytes"] - memory["empty_bytes"] <= found.high
