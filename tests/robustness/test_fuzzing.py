"""Changed files of every kind: a proper result or one message that names the file, in a few hundred cases a run.

Tens of thousands are run by `benchmarks/robustness.py`. `corpus/` holds files that once ended otherwise, each with the
reader that fell over it; they are read again here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.runtime

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CASES = 6
COSTLY = {"executorch": 2}
"""Fewer cases of a kind whose runtime is loaded anew in each of its processes."""

APART = ("keras", "h5", "savedmodel", "frozen graph", "core ml")
"""Starts of kinds that run beside the others, in a process of their own: half of the time, for the second core."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    made = subprocess.run(
        [sys.executable, str(HERE / "fuzzing" / "seeds.py"), str(folder)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


def campaign(*arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(HERE / "fuzzing" / "campaign.py"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"kind"')]


def kinds() -> list[str]:
    code = "from fuzzing.kinds import KINDS; print('\\n'.join(KINDS))"
    path = {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    listed = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_changed_files_end_in_a_result_or_in_a_message_that_names_them(seeds: Path) -> None:
    def run(ranges: list[str]) -> list[dict[str, Any]]:
        return campaign(*ranges, "--seeds", str(seeds), "--seed", "11")

    known = kinds()
    assert len(known) >= 20
    ranges = [f"{kind}:0:{COSTLY.get(kind, CASES)}" for kind in known]
    apart = [one for one in ranges if one.startswith(APART)]
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(run, (apart, [one for one in ranges if one not in apart]))
        found = [one for half in halves for one in half]
    assert {one["kind"] for one in found} == set(known)
    assert [anomaly for one in found for anomaly in one["anomalies"]] == []
    assert sum(sum(one["codes"].values()) for one in found) >= 180


def test_files_that_once_ended_otherwise_are_read(seeds: Path) -> None:
    entries = sorted(CORPUS.iterdir())
    (found,) = campaign("--seeds", str(seeds), "--corpus", str(CORPUS))
    assert found["anomalies"] == []
    assert sum(found["codes"].values()) == len(entries) >= 5


def test_the_oracle_sees_what_it_must(seeds: Path, tmp_path: Path) -> None:
    """A harness that finds nothing may be blind: faults planted into edgekit are found."""
    planted = tmp_path / "planted.py"
    planted.write_text(
        "import sys, pathlib\n"
        f"sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]\n"
        "import edgekit.profiles.profile as profile\n"
        "from fuzzing import campaign\n"
        "def crash(*_): raise KeyError('planted')\n"
        "def leave(*_): pathlib.Path('left').touch(); raise KeyError('planted')\n"
        "from edgekit.errors import ProfileError\n"
        "def unnamed(*_): raise ProfileError('something is wrong')\n"
        "seen = []\n"
        "for fault in (crash, leave, unnamed):\n"
        "    profile.find_profile = fault\n"
        f"    place = pathlib.Path({str(tmp_path)!r}) / fault.__name__\n"
        "    place.mkdir()\n"
        f"    campaign.lay_out(campaign.KINDS['device profile'], pathlib.Path({str(seeds)!r}), place / 'work')\n"
        "    seen.append(campaign.run_one('device profile', 'read', 'board.toml', place)[1])\n"
        "print(seen)\n"
    )
    ran = subprocess.run([sys.executable, str(planted)], capture_output=True, text=True, check=True)
    assert ran.stdout == "['exit code 4', 'exit code 4', 'the message does not name the file']\n"
