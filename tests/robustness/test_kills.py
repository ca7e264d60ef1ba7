"""Killed before any of its file operations, a process leaves nothing half-written, and the next one tidies up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).with_name("kill_at_write_points.py")


@pytest.mark.parametrize("work", ["Package", "PackageInTwoSteps", "File", "Entry", "EntryAnew"])
def test_a_kill_before_any_file_operation_leaves_nothing_half_written(tmp_path: Path, work: str) -> None:
    command = [sys.executable, str(KILL), str(tmp_path), work]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["wrong"] == []
    assert found["points"] >= 5
