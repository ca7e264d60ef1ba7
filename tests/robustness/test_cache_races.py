"""Eight processes want the same entries: each is made once, and every process finds it complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RACE = Path(__file__).with_name("race_for_cache_entries.py")


def race(folder: Path, *arguments: str) -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, str(RACE), str(folder), *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_of_800_makings_of_100_entries_none_fails_and_each_is_done_once(tmp_path: Path) -> None:
    assert race(tmp_path, "8", "100") == {"failures": [], "builds": 100, "keys": 100}


def test_where_nothing_is_reused_each_process_makes_its_own_and_none_fails(tmp_path: Path) -> None:
    assert race(tmp_path, "8", "20", "--no-reuse") == {"failures": [], "builds": 160, "keys": 20}
