"""The same task gives the same bytes in four formats, wherever it lies and whatever surrounds it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

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

ELSEWHERE = {
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "PYTHONHASHSEED": "7",
    "TZ": "Asia/Tokyo",
    "LC_ALL": "de_DE.ISO-8859-1",
    "USER": "somebody",
    "HOME": "",
}
"""Variables of the second run; one that is empty is taken away."""


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The matrix of all surroundings, whose network and whose clock serve here too."""
    spec = importlib.util.spec_from_file_location("determinism", ROOT / "benchmarks" / "determinism.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["determinism"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def convert_in(folder: Path, umask: str, environment: dict[str, str], *, linked: bool, benchmark: ModuleType) -> str:
    benchmark.write_project(folder, linked=linked)
    around = {"PYTHONPATH": str(ROOT), "EDGEKIT_CACHE_DIR": str(folder / "cache"), **environment}
    ran = subprocess.run(
        ["sh", "-c", 'umask "$1"; shift; exec "$@"', "sh", umask, sys.executable, "-c", CONVERT],
        cwd=folder, capture_output=True, text=True, check=False,
        env={name: text for name, text in {**os.environ, **around}.items() if text},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.runtime
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the moved clock is built with gcc")
def test_the_same_task_gives_the_same_bytes_elsewhere(tmp_path: Path, benchmark: ModuleType) -> None:
    plain = convert_in(tmp_path / "one", "022", {}, linked=False, benchmark=benchmark)
    assert plain.splitlines()[0].startswith("tflite ")
    assert len(plain.splitlines()) == 4
    moved = {**ELSEWHERE, "LD_PRELOAD": str(benchmark.built_clock(tmp_path))}
    elsewhere = tmp_path / "some" / "where" / "else"
    assert convert_in(elsewhere, "077", moved, linked=True, benchmark=benchmark) == plain


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the moved clock is built with gcc")
def test_the_moved_clock_is_another_day(tmp_path: Path, benchmark: ModuleType) -> None:
    moved = {**os.environ, "LD_PRELOAD": str(benchmark.built_clock(tmp_path))}
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=moved, capture_output=True, text=True, check=True
    )
    assert 462 < (float(said.stdout) - time.time()) / 86400 < 464
