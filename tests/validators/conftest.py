import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.samples import Samples, write_samples
from edgekit.validators import runner_process

HERE = Path(__file__).parent


@pytest.fixture
def fake_runner(tmp_path, monkeypatch):
    """Puts the runner beside the fake session, as one copies it to a device, and returns a function that makes
    artifacts."""
    folder = tmp_path / "device"
    folder.mkdir()
    for file in runner_process.RUNNER_FILES:
        shutil.copy(file, folder)
    shutil.copy(HERE / "fake_session.py", folder)
    shutil.copy(HERE / "fake_session.py", folder / "reference_session.py")
    monkeypatch.setattr(runner_process, "RUNNER", folder / "runner.py")
    monkeypatch.setattr(runner_process, "session_file", lambda name: folder / f"{name}_session.py")
    monkeypatch.setattr(runner_process, "REFERENCE", folder / "reference_session.py")

    def make(name="model.fake", *, inputs=None, specs=(), out_specs=(), **facts):
        facts["inputs"] = inputs or [spec("x", [1, 3])]
        path = tmp_path / name
        path.write_text(json.dumps(facts))
        return Artifact(
            path=path,
            runtime="fake",
            precision="fp32",
            size_bytes=1,
            download_bytes=1,
            sha256="",
            inputs=tuple(specs),
            outputs=tuple(out_specs),
        )

    return make


def spec(name, shape, dtype="float32", scale=None, zero_point=None):
    return {"name": name, "shape": shape, "dtype": dtype, "layout": None, "scale": scale, "zero_point": zero_point}


@pytest.fixture
def rows(tmp_path):
    """Writes a sample folder from whole arrays by tensor name."""

    def make(name="rows", **tensors):
        arrays = list(tensors.values())
        return write_samples(
            tmp_path / name,
            list(tensors),
            (tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0]))),
        )

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with one tiny model in every format, built once: tiny.pt2, .onnx, .tflite, .pte, .mlpackage."""
    return build("build_tiny_artifacts.py", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_keras(tmp_path_factory):
    """A folder with one tiny Keras model as tiny.keras and saved/, and expected.npz with what it computes."""
    return build("build_tiny_keras.py", tmp_path_factory.mktemp("tiny_keras"))


def build(script, folder):
    """Runs a script of this folder that builds models: frameworks stay out of the test process."""
    built = subprocess.run(
        [sys.executable, str(HERE / script), str(folder)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def tiny_rows(tmp_path_factory) -> Samples:
    generator = np.random.default_rng(0)
    images = generator.standard_normal((12, 1, 3, 6, 6)).astype(np.float32)
    tokens = generator.integers(0, 16, (12, 1, 4))
    return write_samples(tmp_path_factory.mktemp("rows"), ["image", "tokens"], zip(images, tokens, strict=True))
