"""Kills of real commands at random moments: how many leave something wrong. The goal is 0 of 200.

    python benchmarks/kills.py --cases 60 [--forked] [--seed 0] [--first N] [--victims plan,export] [--write]
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
import gc
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROBUSTNESS = HERE.parent / "tests" / "robustness"
RESULTS = HERE / "results" / "kills.json"
sys.path[:0] = [str(ROBUSTNESS), str(HERE.parent), str(HERE)]

from fuzzing.forked_run import command
from fuzzing.preloading import preload
from killing.kill import Undisturbed, adopt_orphans, kill, lay_out, observe
from killing.starts import start_forked, start_real
from killing.victims import VICTIMS, make_ground
from robustness import commit

GOAL = 200
POINTS = ("Package", "PackageInTwoSteps", "File", "Entry", "EntryAnew")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "group", "all")
WEIGHT_OF_A_SECOND = 5.0
"""Victims of so many CPU seconds, or fewer, are drawn equally often; dearer ones the less the longer they take."""

Record = dict[str, Any]


def draw(seed: int, number: int, victims: list[str], *, forked: bool) -> tuple[str, signal.Signals, str, float]:
    """Returns the victim of a case, the signal, who gets it, and the share of the undisturbed time."""
    rng = random.Random(hashlib.sha256(f"{seed} {number}".encode()).digest())
    weights = [1.0 if forked else min(1.0, WEIGHT_OF_A_SECOND / VICTIMS[name].cpu_s) for name in victims]
    return rng.choices(victims, weights)[0], rng.choice(SIGNALS), rng.choice(TARGETS), rng.random()


def run_case(name: str, drawn: tuple[signal.Signals, str, float], known: Undisturbed, ground: Path, how: Any) -> Record:
    """Kills once; where the command had ended already, it is killed sooner."""
    number, to, share = drawn
    while True:
        place = Path(tempfile.mkdtemp(prefix="edgekit-kill-"))
        after_s = share * known.seconds
        found = kill(how, VICTIMS[name], known, ground, place, after_s=after_s, number=number, to=to)
        if found.wrong:
            print(f"  {name} {number.name} {to} after {after_s:.2f} s: {'; '.join(found.wrong)}\n  {place}", flush=True)
        else:
            shutil.rmtree(place)
        if found.hit or found.wrong:
            return {
                "victim": name, "signal": number.name, "to": to, "share": round(share, 3), "after_s": round(after_s, 2),
                "code": found.code, "gone_s": round(found.gone_s, 1), "wrong": list(found.wrong),
            }  # fmt: skip
        share *= 0.7


def run_cases(options: argparse.Namespace, ground: Path) -> None:
    adopt_orphans()
    warnings.simplefilter("ignore")
    start = start_forked if options.forked else start_real
    way = "forked" if options.forked else "real"
    known: dict[str, Undisturbed] = {}
    names = options.victims.split(",")
    recorded = {(one["seed"], one["n"]) for one in read_results() if one["way"] == way}
    for number in range(options.first, options.first + options.cases):
        if (options.seed, number) in recorded:
            continue
        name, *drawn = draw(options.seed, number, names, forked=options.forked)
        if name not in known:
            if options.forked:
                victim = VICTIMS[name]
                preload(command(*victim.arguments), lambda place, v=victim: lay_out(v, ground, place), (0, 1))
                gc.freeze()
            place = Path(tempfile.mkdtemp(prefix="edgekit-kill-"))
            known[name] = observe(start, VICTIMS[name], ground, place)
            print(f"{name}: {known[name].seconds:.1f} s undisturbed, {len(known[name].files)} files", flush=True)
        found = run_case(name, (drawn[0], drawn[1], drawn[2]), known[name], ground, start)
        add_result({"way": way, "seed": options.seed, "n": number, **found, "commit": commit()})
        print(f"{number} {name} {found['signal']} {found['to']}: {found['code']}, {found['wrong']}", flush=True)


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
    slowest = max((one["gone_s"] for one in random_ones), default=0.0)
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} shared cores"
    commits = ", ".join(dict.fromkeys(str(one["commit"]) for one in random_ones))
    text = f"""# Robustness: kills

{kills} kills, {wrong} of which left something wrong, by `python benchmarks/kills.py` on {machine}; each is in
`kills.json`.{missing} {real} hit real commands at random moments, {len(random_ones) - real} commands that were forks of
a process with the frameworks loaded (the same processes, signals and files without the time of imports), {at_points}
came before each file operation in turn of what writes files, packages and cache entries. Of commits {commits}.

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
