"""The same model, data and tools give the same bytes in every format: what `edgekit verify --rebuild` rests on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import measure_files
from edgekit.plan import Recipe
from edgekit.registry import CONVERTERS, converter

pytestmark = pytest.mark.runtime

ROOT = Path(__file__).parents[2]


def convert(tiny_model: Any, runtime: str, folder: Path, seed: str) -> str:
    """Converts to INT8 in one fresh process and returns the artifact's hash."""
    folder.mkdir(parents=True)
    path = folder / f"net{converter(runtime).suffix}"
    item = {
        "model": tiny_model.captured.to_json(),
        "model_folder": str(tiny_model.captured.path.parent),
        "recipe": Recipe(default="int8_static").to_json(),
        "calibration": str(tiny_model.calibration),
        "io": "float",
        "output": str(path),
    }
    results = folder / "results.json"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "convert_tiny.py")],
        input=json.dumps({"runtime": runtime, "items": [item], "results": str(results)}),
        # Another order of sets and dictionaries' hashes, another folder: neither may be seen in the bytes.
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [made.get("error") for made in json.loads(results.read_text())] == [None]
    return measure_files(path)[2]


@pytest.mark.parametrize("runtime", CONVERTERS)
def test_two_processes_in_two_folders_write_the_same_bytes(
    tiny: Callable[[str], Any], tmp_path: Path, runtime: str
) -> None:
    model = tiny("convolutions")
    first = convert(model, runtime, tmp_path / "one", "1")
    second = convert(model, runtime, tmp_path / "another" / "folder", "2")
    assert first == second
