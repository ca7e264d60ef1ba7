"""Kills of real commands at random moments: how many leave something wrong. The goal is 0 of 200.

    python benchmarks/kills.py --cases 60 [--forked] [--seed 0] [--first N] [--victims plan,export]
        [--signals KILL] [--write]
    python benchmarks/kills.py --points

Each case starts a command of edgekit (`tests/robustness/killing/victims.py`), kills it by KILL, TERM or INT, the parent
alone, its group, or all its processes, at a moment drawn over the whole time of an undisturbed run, and starts it
again. What counts as wrong stands in `tests/robustness/killing/kill.py`. A case is fixed by the seed and its number;
those on record are passed over, so a run goes on where it stopped. With `--forked`, commands are forks of a process
that has all frameworks loaded. `--points` kills before every file operation (`kill_at_write_points.py`). Results are
added to `results/kills.json`; `--write` puts all that is there into `results/kills.md`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROBUSTNESS = HERE.parent / "tests" / "robustness"
RESULTS = HERE / "results" / "kills.json"
sys.path[:0] = [str(ROBUSTNESS), str(HERE.parent), str(HERE)]

from killing.victims import VICTIMS, make_ground
from robustness import commit

GOAL = 200
POINTS = ("Package", "PackageInTwoSteps", "File", "Entry", "EntryAnew")
Record = dict[str, Any]


def run_cases(options: argparse.Namespace, ground: Path) -> None:
    way = "forked" if options.forked else "real"
    known = [str(one["n"]) for one in read_results() if one["way"] == way and one["seed"] == options.seed]
    arguments = [
        *("--ground", str(ground), "--victims", options.victims, "--except", ",".join(known)),
        *("--signals", options.signals),
        *("--seed", str(options.seed), "--first", str(options.first), "--cases", str(options.cases)),
        *(["--forked"] if options.forked else []),
    ]
    campaign = [sys.executable, str(ROBUSTNESS / "killing" / "campaign.py"), *arguments]
    ran = subprocess.Popen(campaign, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.stdout is not None
    for line in ran.stdout:
        if line.startswith('{"n"'):
            found = json.loads(line)
            add_result({"way": way, "seed": options.seed, **found, "commit": commit()})
            print(line, end="", flush=True)
    if ran.wait():
        sys.exit(f"the campaign ended with {ran.returncode}")


def run_points() -> None:
    for work in POINTS:
        with tempfile.TemporaryDirectory() as folder:
            kill_at = [sys.executable, str(ROBUSTNESS / "kill_at_write_points.py"), folder, work]
            ran = subprocess.run(kill_at, capture_output=True, text=True, check=True)
        found = json.loads(ran.stdout)
        print(f"{work}: {found['points']} kills, {found['wrong']}", flush=True)
        add_result({"way": "point", "seed": 0, "n": work, "kills": found["points"], "wrong": found["wrong"]})


def read_results() -> list[Record]:
    found: list[Record] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return found


def add_result(record: Record) -> None:
    """Adds a case; one of the same way, seed and number takes the place of the earlier one."""
    with RESULTS.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # several may run side by side
        stream.seek(0)
        known: list[Record] = json.loads(stream.read() or "[]")
        same = ("way", "seed", "n")
        known = [one for one in known if any(one[key] != record[key] for key in same)]
        stream.truncate(0)
        stream.write("[\n" + ",\n".join(json.dumps(one) for one in [*known, record]) + "\n]\n")


def table(records: list[Record], key: str, title: str) -> str:
    lines = [f"| {title} | kills | of real commands | of forks | wrong |", "|---" * 5 + "|"]
    for value in dict.fromkeys(one[key] for one in records):
        own = [one for one in records if one[key] == value]
        counts = [sum(one["way"] == way for one in own) for way in ("real", "forked")]
        lines.append(f"| {value} | {len(own)} | {counts[0]} | {counts[1]} | {sum(bool(one['wrong']) for one in own)} |")
    return "\n".join(lines)


def write_results() -> None:
    records = read_results()
    points = [one for one in records if one["way"] == "point"]
    random_ones = [one for one in records if one["way"] != "point"]
    real = sum(one["way"] == "real" for one in random_ones)
    at_points = sum(one["kills"] for one in points)
    wrong = sum(bool(one["wrong"]) for one in random_ones) + sum(len(one["wrong"]) for one in points)
    kills = len(random_ones) + at_points
    missing = "" if kills >= GOAL else f" The goal of {GOAL} is not reached yet."
    late = sum(one["code"] not in (130, -9) for one in random_ones)
    again = sum("note" in one for one in random_ones)
    slowest = max((one["gone_s"] for one in random_ones), default=0.0)
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} shared cores"
    commits = ", ".join(dict.fromkeys(str(one["commit"]) for one in random_ones))
    text = f"""# Robustness: kills

{kills} kills, {wrong} of which left something wrong, by `python benchmarks/kills.py` on {machine}; each is in
`kills.json`.{missing} {real} hit real commands at random moments, {len(random_ones) - real} commands that were forks of
a process with the frameworks loaded (the same processes, signals and files without the time of imports), {at_points}
came before each file operation in turn of what writes files, packages and cache entries. {late} came when a command's
work was done, and it ended as it does undisturbed. Of commits {commits}. {again} were first judged wrong by a fault of
the judge and are judged again, as their notes say.

Right is: the exit code 130 after INT and TERM; no traceback; every process gone (the last after {slowest:.1f} s); each
file at its place complete, or as it was, or not there; each cache entry complete or not there; the same command
afterwards ends as if nothing had been, with the same bytes (figures of time apart), and nothing is left over.

{table(random_ones, "victim", "command")}

{table(random_ones, "signal", "signal")}

{table(random_ones, "to", "sent to")}
"""
    (HERE / "results" / "kills.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", default=",".join(VICTIMS))
    parser.add_argument("--signals", default="KILL,TERM,INT")
    parser.add_argument("--ground", type=Path, help="folder with what the commands work on, made where it is empty")
    parser.add_argument("--forked", action="store_true")
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        ground = (options.ground or Path(made)).resolve()
        ground.mkdir(exist_ok=True)
        if options.cases and not any(ground.iterdir()):
            make_ground(ground)
        if options.cases:
            run_cases(options, ground)
    if options.points:
        run_points()
    if options.write:
        write_results()


if __name__ == "__main__":
    main()
