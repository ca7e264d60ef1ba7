"""Fuzzing of every kind of file that edgekit reads: how many cases end as none may. The goal is 0 of 20,000.

    python benchmarks/robustness.py --cases 20000 [--seed 0] [--part 1/4] [--kinds tflite,onnx] [--write]

Each case changes one small valid file (bits, lengths, fields of protobuf, zip, JSON and TOML) and reads it by a command
of edgekit or by one of its readers, in a forked child with limits on time and memory; what counts as an anomaly stands
in `tests/robustness/fuzzing/campaign.py`. Cases are shared out by what they cost: kinds that whole frameworks read get
fewer. A long run can be cut into parts (`--part 2/4`), each of which adds its figures to
`results/robustness.json`; `--write` puts all that is there into `results/robustness.md`. `--keep` stores the changed
file of each anomaly.

Coverage-guided fuzzing was left out: atheris 3.0 installs here, but runs all cases in one process, which the first file
that makes a native reader (protobuf, HDF5, a runtime) abort would end, and it sees Python's branches only. What is
Python's here, field-aware mutation reaches: each kind ends in success, in a verdict and in errors (see the results).
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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FUZZING = HERE.parent / "tests" / "robustness" / "fuzzing"
RESULTS = HERE / "results" / "robustness.json"
sys.path[:0] = [str(FUZZING.parent), str(HERE.parent)]

from fuzzing.kinds import KINDS
from fuzzing.seeds import make_seeds

GOAL = 20_000
Found = dict[str, Any]

CPU_MS = {
    "onnx external data": 70,
    "pt2": 95,
    "torchscript": 95,
    "frozen graph": 200,
    "onnx artifact": 60,
    "tflite": 75,
    "measurement": 100,
    "executorch": 170,
    "device profile": 60,
    "baseline": 100,
    "edgekit.lock": 100,
    "report.json": 200,
    "details.json": 400,
    "keras": 220,
    "h5": 130,
    "savedmodel": 200,
    "core ml manifest": 260,
    "core ml weights": 260,
    "core ml model": 340,
}
"""CPU time of a case, as measured, where it is above `EVEN_MS`."""

EVEN_MS = 40
"""A kind gets as many cases as every other one, or as many as take no longer than those do at this cost."""


def shares(kinds: list[str], cases: int) -> dict[str, int]:
    """Returns how many of the cases each kind gets."""
    weights = {kind: min(1.0, EVEN_MS / CPU_MS.get(kind, EVEN_MS)) for kind in KINDS}
    unit = cases / sum(weights.values())
    return {kind: round(unit * weights[kind]) for kind in kinds}


def run_campaign(ranges: dict[str, tuple[int, int]], seeds: Path, options: argparse.Namespace) -> Iterator[Found]:
    """Yields what came of each kind as soon as it is known."""
    command = [sys.executable, str(FUZZING / "campaign.py"), "--seeds", str(seeds), "--seed", str(options.seed)]
    command += ["--keep", str(options.keep)] if options.keep else []
    command += [f"{kind}:{first}:{cases}" for kind, (first, cases) in ranges.items()]
    with tempfile.TemporaryFile("w+") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ran = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert ran.stdout is not None
        yield from (json.loads(line) for line in ran.stdout if line.startswith('{"kind"'))
        if ran.wait():
            log.seek(0)
            sys.exit(log.read()[-2000:])


def add_result(found: Found, seed: int, first: int) -> None:
    """Adds a run to the results; a run of the same cases takes the place of the earlier one."""
    same = {"kind": found["kind"], "seed": seed, "first": first}
    anomalies = Counter(one["what"] for one in found["anomalies"])
    cases = sum(found["codes"].values())
    run = {**same, "cases": cases, "codes": found["codes"], "anomalies": dict(anomalies), "cpu_s": found["cpu_s"]}
    with RESULTS.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # parts may run side by side
        stream.seek(0)
        known: list[dict[str, Any]] = json.loads(stream.read() or "[]")
        known = [one for one in known if any(one[key] != value for key, value in same.items())]
        stream.truncate(0)
        lines = ",\n".join(json.dumps(one) for one in [*known, {**run, "commit": commit()}])
        stream.write(f"[\n{lines}\n]\n")


def commit() -> str:
    """Returns the commit of the checkout, with "+" where edgekit's own files differ from it."""
    code = ("edgekit", "converters", "validators", "device_profiles")
    git = ["git", "-C", str(HERE)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    differs = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *(f":/{name}" for name in code)], check=False)
    return head.stdout.strip() + ("+" if differs.returncode else "")


def table() -> str:
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text())
    lines = ["| kind of file | cases | exit 0 | exit 1 | exit 2 | exit 3 | anomalies |", "|---" * 7 + "|"]
    total: Counter[str] = Counter()
    for kind in KINDS:
        own = [run for run in runs if run["kind"] == kind]
        codes: Counter[str] = Counter()
        for run in own:
            codes.update(run["codes"])
        cases, wrong = sum(run["cases"] for run in own), sum(sum(run["anomalies"].values()) for run in own)
        total.update({"cases": cases, "wrong": wrong, **codes})
        lines.append(f"| {kind} | {cases} | {' | '.join(str(codes[code]) for code in '0123')} | {wrong} |")
    lines.append(f"| all | {total['cases']} | {' | '.join(str(total[code]) for code in '0123')} | {total['wrong']} |")
    return "\n".join(lines)


def write_results() -> None:
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} shared cores"
    runs = json.loads(RESULTS.read_text())
    cases = sum(run["cases"] for run in runs)
    missing = "" if cases >= GOAL else f" The goal of {GOAL} cases is not reached yet."
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    text = f"""# Robustness: fuzzing

{cases} cases, run in parts by `python benchmarks/robustness.py --cases N --seed N --part I/N` on {machine}, of commits
{commits}; each part's figures are in `robustness.json`.{missing}

An anomaly is a traceback, exit code 4 or a signal, a message that does not name the file, anything left behind, PASS on
what fails, 30 s of CPU time, or more than 3 GiB of memory for some kilobytes. The files of those that are mended lie in
`tests/robustness/corpus`, which each run of the tests reads again.

{table()}
"""
    (HERE / "results" / "robustness.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seeds", type=Path, help="folder with the valid files, made where it is empty")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    with tempfile.TemporaryDirectory() as made:
        seeds = options.seeds or Path(made)
        seeds.mkdir(exist_ok=True)
        if options.cases and not any(seeds.iterdir()):
            make_seeds(seeds)
        wanted = shares(options.kinds.split(","), options.cases)
        cuts = {kind: (count * (part - 1) // parts, count * part // parts) for kind, count in wanted.items()}
        ranges = {kind: (first, last - first) for kind, (first, last) in cuts.items() if last > first}
        for found in run_campaign(ranges, seeds, options) if ranges else ():
            add_result(found, options.seed, ranges[found["kind"]][0])
            cases, wrong = sum(found["codes"].values()), len(found["anomalies"])
            print(f"{found['kind']}: {cases} cases in {found['cpu_s']} s of CPU time, {wrong} anomalies", flush=True)
            for one in found["anomalies"]:
                print(f"  {one['number']} {one['act']}: {one['what']}: {one['said'].strip()[-500:]!r}", flush=True)
    if RESULTS.exists():
        print(table())
        if options.write:
            write_results()


if __name__ == "__main__":
    main()
