"""`edgekit.sweep`: what it takes and what it refuses."""

from __future__ import annotations

import os
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


def test_the_shared_cache_of_a_call_is_named_as_long_as_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_SHARED_CACHE", raising=False)
    seen: list[str | None] = []

    def dry_run(_requested: object) -> object:
        seen.extend(os.environ.get(name) for name in ("EDGEKIT_SHARED_CACHE", "EDGEKIT_SHARED_CACHE_WRITE"))
        return None

    monkeypatch.setattr("edgekit.sweeping.request.dry_run", dry_run)
    edgekit.sweep(models="a.onnx", devices="pi4", cache="s3://team/edgekit", cache_write=True, dry_run=True)
    assert seen == ["s3://team/edgekit", "1"]
    assert "EDGEKIT_SHARED_CACHE" not in os.environ


def test_leave_to_write_without_a_shared_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_SHARED_CACHE", raising=False)
    message = r"^cache_write names no cache\. Give cache=URL, or set EDGEKIT_SHARED_CACHE\.$"
    with pytest.raises(UsageError, match=message):
        edgekit.sweep(models="a.onnx", devices="pi4", cache_write=True, dry_run=True)
