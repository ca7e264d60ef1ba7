"""A small classifier of pictures as a project, and the Python that has MediaPipe."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

MODEL = """
import numpy as np
import torch
from torch import nn

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

def build():
    torch.manual_seed(3)
    features = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )
    head = nn.Linear(32, 5)
    with torch.no_grad():
        # Without the mean that all pictures share, the labels differ from one to the next.
        head.bias.copy_(-head.weight @ features(rows(0)).mean(0))
    return nn.Sequential(features, head).eval()

def example_inputs():
    return (torch.zeros(1, 3, 32, 32),)

def pixels(seed, count=24):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(coarse + generator.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)

def rows(seed):
    order = slice(None, None, -1) if COLOR == "bgr" else slice(None)
    values = (pixels(seed)[..., order].astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))

def calibration():
    return [(row[None],) for row in rows(0)]

def evaluation():
    return [((row[None],), 0) for row in rows(1)]
"""

TASK = """
[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
labels = "labels.txt"
[data]
calibration = "model.py:calibration"
evaluation = "model.py:evaluation"
metric = "agreement"
[data.preprocessing]
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
color = "{color}"
"""

LABELS = ("apple", "bird", "cloud", "door", "eel")


def write_project(folder: Path, color: str) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text(f'COLOR = "{color}"\n{MODEL}')
    (folder / "edgekit.toml").write_text(TASK.format(color=color))
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes the project whose model takes colours in this order, and returns its folder; once for each."""
    base = tmp_path_factory.mktemp("projects")
    return lambda color: base / color if (base / color).is_dir() else write_project(base / color, color)


@pytest.fixture(scope="session")
def mediapipe_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python that has MediaPipe: this one, the one of EDGEKIT_MEDIAPIPE_PYTHON, or one installed for the test."""
    if importlib.util.find_spec("mediapipe") is not None:
        return Path(sys.executable)
    if named := os.environ.get("EDGEKIT_MEDIAPIPE_PYTHON"):
        return Path(named)
    if os.environ.get("EDGEKIT_INSTALL_CLIENTS") != "1":
        pytest.skip(
            "MediaPipe is not installed. EDGEKIT_INSTALL_CLIENTS=1 installs it into an environment of its own, and "
            "EDGEKIT_MEDIAPIPE_PYTHON names one that has it; it needs libEGL and libGLESv2."
        )
    folder = tmp_path_factory.mktemp("mediapipe")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "mediapipe"], check=True)
    return python
