"""The same task gives the same bytes in four formats, wherever it lies and whatever surrounds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])

TASK = """
[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
[data]
calibration = "model.py:calibration"
"""

MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.linear = torch.nn.Linear(8, 5)

    def forward(self, image):
        return self.linear(torch.relu(self.conv(image)).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net().eval()

def example_inputs():
    return (torch.zeros(1, 3, 16, 16),)

def calibration():
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        yield (torch.randn(1, 3, 16, 16, generator=generator),)
"""

# Conversions alone: what the artifacts do is not the question here, and running them takes as long again.
CONVERT = """
import sys
from pathlib import Path
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import convert
from edgekit.pipeline.samples import prepare_samples
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.task.task import load_task

settings, task = Settings(), load_task(Path("edgekit.toml"))
model = capture_model(task, settings)
samples = prepare_samples(task, model, "calibration", settings)
for runtime in ("tflite", "onnx", "executorch", "coreml"):
    artifact = convert(model, runtime, Recipe(default="int8_static"), samples, settings).artifact
    print(runtime, artifact.sha256)
    for file in [artifact.path] if artifact.path.is_file() else sorted(artifact.path.rglob("*")):
        if file.is_file() and str(Path.cwd()).encode() in file.read_bytes():
            print(f"{file} holds a local path")
"""

SURROUNDINGS = {
    "umask": "077",
    "environment": {
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "de_DE.ISO-8859-1",
    },
}


def convert_in(folder: Path, umask: str, environment: dict[str, str]) -> str:
    folder.mkdir(parents=True)
    (folder / "edgekit.toml").write_text(TASK)
    (folder / "model.py").write_text(MODEL)
    ran = subprocess.run(
        ["sh", "-c", 'umask "$1"; shift; exec "$@"', "sh", umask, sys.executable, "-c", CONVERT],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ROOT, "EDGEKIT_CACHE_DIR": str(folder / "cache"), **environment},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.runtime
def test_the_same_task_gives_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    plain = convert_in(tmp_path / "one", "022", {})
    assert plain.splitlines()[0].startswith("tflite ")
    assert len(plain.splitlines()) == 4
    assert convert_in(tmp_path / "some" / "where" / "else", **SURROUNDINGS) == plain
