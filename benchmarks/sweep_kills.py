"""SIGKILL at random moments of a sweep of torch models: captures in forks, 15 rows in a job, one and two workers.

    python benchmarks/sweep_kills.py --folder F [--cases 10] [--seed 0] [--write]

Two models x 15 devices in one format. The artifacts are in the cache before, so that kills fall into captures and
judgements as often as their share of the time; `kills.py --victims sweep` kills conversions. A case starts
`edgekit sweep` with an empty folder of rows, kills at a moment drawn over the time of an undisturbed run, and runs the
same command to its end. Killed is the driver, the driver with all that it has started, or one of these processes.

right    the rows are those of an undisturbed run (figures of time and memory apart), every row that was there at the
         kill is still the same file, no file is left half-written, and no process outlives its parent by 5 seconds
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from sweep_matrix import DEVICES, HERE, MODELS, kill_tree, lay_out, row_facts

from edgekit.sweeping.rows import read_rows
from edgekit.workers.cache import code_fingerprint

RESULTS = HERE / "results" / "sweep_kills.json"
FORMAT = "onnx"
GONE_S = 5.0
Record = dict[str, Any]


def start(place: Path, jobs: int) -> subprocess.Popen[bytes]:
    arguments = ["sweep", "matrix.toml", "-o", "out", "-f", FORMAT, "-j", str(jobs), "-q", "--no-color"]
    with (place / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "edgekit", *arguments], cwd=place, stdout=log, stderr=log, start_new_session=True
        )


def undisturbed(place: Path, jobs: int) -> tuple[float, dict[str, Any]]:
    shutil.rmtree(place / "out", ignore_errors=True)
    began = time.monotonic()
    start(place, jobs).wait()
    return time.monotonic() - began, facts_of(place)


def facts_of(place: Path) -> dict[str, Any]:
    return dict(map(row_facts, read_rows(place / "out")))


def row_files(place: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (place / "out" / "rows").glob("*")}


def kill_once(place: Path, jobs: int, seconds: float, rng: random.Random) -> tuple[str, float, list[int]]:
    """Returns what was killed, after how long, and the processes that ran then; ("", ...) where all was over."""
    shutil.rmtree(place / "out", ignore_errors=True)
    after_s, whom = rng.random() * seconds, rng.choice(("driver", "all", "one"))
    ran = start(place, jobs)
    time.sleep(after_s)
    if ran.poll() is not None:
        return "", after_s, []
    below = psutil.Process(ran.pid).children(recursive=True)
    pids = [ran.pid, *(one.pid for one in below)]
    if whom == "all":
        kill_tree(ran.pid)
    elif whom == "one" and below:
        rng.choice(below).kill()
    else:
        whom = "driver"
        ran.kill()
    ran.wait()
    return whom, after_s, pids


def case(number: int, place: Path, known: dict[int, tuple[float, dict[str, Any]]], seed: int) -> Record:
    rng = random.Random(f"{seed} {number}")
    jobs = 1 + number % 2
    seconds, wanted = known[jobs]
    whom = ""
    while not whom:
        whom, after_s, pids = kill_once(place, jobs, seconds, rng)
    time.sleep(0 if whom == "one" else GONE_S)
    wrong = ["a process lives on"] if any(map(psutil.pid_exists, pids)) else []
    before = row_files(place)
    wrong += [f"half-written: {name}" for name in before if not name.endswith(".parquet")]
    start(place, jobs).wait()
    after = row_files(place)
    wrong += [] if facts_of(place) == wanted else ["the rows differ from those of an undisturbed run"]
    if whom != "one":  # what died of its worker is a failure of the machine's, which the next run tries again
        wrong += [f"judged twice: {name}" for name, when in before.items() if after.get(name) != when]
    return {
        "n": number, "jobs": jobs, "killed": whom, "after_s": round(after_s, 1), "undisturbed_s": round(seconds, 1),
        "rows_before": len(before), "rows": len(wanted), "wrong": wrong, "code": code_fingerprint()[:12],
    }  # fmt: skip


def as_markdown(records: list[Record]) -> str:
    lines = [
        f"| {one['n']} | {one['jobs']} | {one['killed']} | {one['after_s']:.0f} of {one['undisturbed_s']:.0f} s "
        f"| {one['rows_before']} of {one['rows']} | {', '.join(one['wrong']) or 'nothing'} |"
        for one in records
    ]
    wrong = sum(bool(one["wrong"]) for one in records)
    return f"""# Kills of a sweep of torch models

{len(records)} kills by SIGKILL with `python benchmarks/sweep_kills.py`, {wrong} of which left something wrong; what
counts as wrong stands there. On 2 shared cores with other heavy work.

| kill | workers | of | at | rows there | wrong |
|---|---|---|---|---|---|
""" + "\n".join([*lines, ""])


def read_results() -> list[Record]:
    found: list[Record] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    place = options.folder.resolve()
    os.environ["EDGEKIT_CACHE_DIR"] = str(place / "cache")
    lay_out(place, MODELS[:2], DEVICES)
    undisturbed(place, 2)  # fills the cache
    known = {jobs: undisturbed(place, jobs) for jobs in (1, 2)}
    for number in range(options.cases):
        record = case(number, place, known, options.seed)
        print(json.dumps(record), flush=True)
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, [*read_results(), record])) + "\n]\n")
    if options.write:
        RESULTS.with_suffix(".md").write_text(as_markdown(read_results()))


if __name__ == "__main__":
    main()
