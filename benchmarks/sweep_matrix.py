"""A real sweep: 10 models x 15 devices x 4 formats, its cost, its second run, two workers against one, a fresh worker.

    python benchmarks/sweep_matrix.py matrix --folder F [--jobs 1] [--time "6 min"]     goes on where it was stopped
    python benchmarks/sweep_matrix.py workers --folder F       a part of it, from an empty cache, by 1 and by 2 workers
    python benchmarks/sweep_matrix.py --write                  what is on record as results/sweep_matrix.md

Each run is added to `results/sweep_matrix.json`. `F` keeps the cache and the rows. The models are those of
`sweep_nets.py`; no two are of one shape. Formats that a device does not run are no combinations of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from edgekit.pipeline.settings import Settings
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, run_sweep
from edgekit.sweeping.result import SweepResult
from edgekit.workers.cache import code_fingerprint

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "sweep_matrix.json"
MODELS = (
    ("plain", 8), ("plain", 16), ("plain", 32), ("separable", 8), ("residual", 8), ("residual", 16), ("squeeze", 8),
    ("signal", 16), ("mixer", 16), ("mlp", 32),
)  # fmt: skip
DEVICES = (
    "android-entry", "apple-watch-s9", "galaxy-s24", "galaxy-watch6", "iphone-se3", "iphone15", "jetson-agx-orin",
    "jetson-nano", "jetson-orin-nano", "jetson-xavier-nx", "pi-zero2w", "pi3", "pi4", "pi5", "pixel8",
)  # fmt: skip
TASK = """[model]
source = "nets.py:build"
example_inputs = "nets.py:example_inputs"
[data]
calibration = "nets.py:calibration"
evaluation = "nets.py:evaluation"
metric = "agreement"
"""


def lay_out(folder: Path, models: tuple[tuple[str, int], ...], devices: tuple[str, ...]) -> Path:
    """Writes the models, the task and the matrix where they are not yet; returns the matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "sweep_nets.py", folder / "nets.py")
    (folder / "edgekit.toml").write_text(TASK)
    entries = ", ".join(
        f"""{{name = "{kind}-{width}", source = 'nets.py:build(kind="{kind}", width={width})'}}"""
        for kind, width in models
    )
    matrix = folder / "matrix.toml"
    listed = json.dumps(list(devices))
    matrix.write_text(f'models = [{entries}]\ndevices = {listed}\nformats = ["all"]\nprecisions = ["int8"]\n')
    return matrix


def sweep(matrix: Path, out: Path, *, jobs: int, time_text: str | None = None, engine: str = "local") -> SweepResult:
    requested = SweepRequest.read(matrix, SweepFlags(time=time_text), out, {}, engine)
    return run_sweep(requested, Settings(jobs=jobs))


def timed(part: str, matrix: Path, out: Path, *, jobs: int, time_text: str | None = None) -> dict[str, Any]:
    """Runs a sweep and puts it on record."""
    own, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    before = [cpu_of(own), cpu_of(children)]
    began = time.monotonic()
    result = sweep(matrix, out, jobs=jobs, time_text=time_text)
    wall_s = time.monotonic() - began
    record = {
        "part": part,
        "jobs": jobs,
        "wall_s": round(wall_s, 1),
        "driver_cpu_s": round(cpu_of(own) - before[0], 2),
        "workers_cpu_s": round(cpu_of(children) - before[1], 1),
        "combinations": len(result.keys),
        "missing": result.missing,
        **{name: value for name, value in result.to_json()["jobs"].items() if name != "left"},
        "passing": sum(row.passed() for row in result.rows),
        "could_not_be_made": sum(row.status == "failed" for row in result.rows),
        "code": code_fingerprint()[:12],
    }
    add_result(record)
    print(json.dumps(record), flush=True)
    return record


def cpu_of(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def add_result(record: dict[str, Any]) -> None:
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(one) for one in [*read_results(), record]) + "\n]\n")


def read_results() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return found


def run_matrix(options: argparse.Namespace) -> None:
    os.environ["EDGEKIT_CACHE_DIR"] = str(options.folder / "cache")
    matrix = lay_out(options.folder, MODELS, DEVICES)
    timed("matrix", matrix, options.folder / "out", jobs=options.jobs, time_text=options.time)


def run_workers(options: argparse.Namespace) -> None:
    """The same part of the matrix from an empty cache, by one worker and by two."""
    for jobs in (1, 2):
        place = options.folder / f"workers-{jobs}"
        shutil.rmtree(place, ignore_errors=True)
        os.environ["EDGEKIT_CACHE_DIR"] = str(place / "cache")
        timed("workers", lay_out(place, MODELS[:2], ("pi4", "pixel8", "iphone15")), place / "out", jobs=jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("matrix", "workers"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--time", help="nothing more is started after this time")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.part and options.folder is None:
        sys.exit("--folder FOLDER is needed")
    if options.part:
        options.folder = options.folder.resolve()
        {"matrix": run_matrix, "workers": run_workers}[options.part](options)


if __name__ == "__main__":
    main()
