"""`edgekit.sweep`: what it takes and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import UsageError


def test_a_dry_run_returns_the_matrix(tmp_path: Path) -> None:
    found = edgekit.sweep(
        models="a.onnx", devices=["pi4", "pixel8"], formats="tflite", output=tmp_path / "out", dry_run=True
    )
    assert [point.title for point in found.result.points] == [
        "a.onnx on pi4: tflite auto",
        "a.onnx on pixel8: tflite auto",
    ]
    assert not found.passed
    assert found.headline() == "sweep: 0 of 2 rows, 0 pass"


def test_a_sweep_without_the_cache_is_refused(tmp_path: Path) -> None:
    message = (
        "cache=False has no effect on a sweep, whose jobs share their work through the cache. "
        "Leave it out, and give another output folder to judge everything again."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        edgekit.sweep(models="a.onnx", devices="pi4", output=tmp_path / "out", cache=False)
