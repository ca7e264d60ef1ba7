"""A real sweep: 10 models x 15 devices x 4 formats, its cost, its second run, two workers against one, a fresh worker.

    python benchmarks/sweep_matrix.py matrix --folder F [--jobs 1] [--time "6 min"] [--devices pi4,pixel8]
                                                               goes on where it was stopped
    python benchmarks/sweep_matrix.py workers --folder F       a part of it, from an empty cache, by 1 and by 2 workers
    python benchmarks/sweep_matrix.py ray --folder F           the same part by two raylets, one of which is killed
    python benchmarks/sweep_matrix.py fresh --folder F         the same jobs by a local worker and by a new raylet
    python benchmarks/sweep_matrix.py --write                  what is on record as results/sweep_matrix.md

Each run is added to `results/sweep_matrix.json`. `F` keeps the cache and the rows. The models are those of
`sweep_nets.py`; no two are of one shape. Formats that a device does not run are no combinations of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from edgekit.engines.engine import Ended, Engine, Work, find_engine
from edgekit.errors import MachineError
from edgekit.pipeline.settings import Settings
from edgekit.sweeping.matrix_file import SweepFlags
from edgekit.sweeping.request import SweepRequest, run_sweep
from edgekit.sweeping.rows import Row, read_rows
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


def lay_out(folder: Path, models: Sequence[tuple[str, int]], devices: Sequence[str]) -> Path:
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


def timed(
    part: str,
    matrix: Path,
    out: Path,
    *,
    jobs: int,
    time_text: str | None = None,
    engine: str = "local",
    raylets: Raylets | None = None,
) -> dict[str, Any]:
    """Runs a sweep and puts it on record."""
    own, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    load = [round(os.getloadavg()[0], 1)]
    before = [cpu_of(own), cpu_of(children)]
    began = time.monotonic()
    requested = SweepRequest.read(matrix, SweepFlags(time=time_text), out, {}, engine)
    timing = TimedEngine(find_engine(engine, jobs) if raylets is None else raylets.engine())
    result = run_sweep(requested, Settings(jobs=jobs), timing)
    wall_s = time.monotonic() - began
    record = {
        "part": part,
        "jobs": jobs,
        "wall_s": round(wall_s, 1),
        "driver_cpu_s": round(cpu_of(own) - before[0], 2),
        # Ray's processes are not this one's children.
        "workers_cpu_s": round(cpu_of(children) - before[1], 1) if raylets is None else None,
        "jobs_s": round(timing.jobs_s, 1),
        "load": [*load, round(os.getloadavg()[0], 1)],
        "combinations": len(result.keys),
        "artifacts": len({(row.model, row.format, row.artifact_sha256) for row in result.rows if row.artifact_sha256}),
        "missing": result.missing,
        **{name: value for name, value in result.to_json()["jobs"].items() if name != "left"},
        "passing": sum(row.passed() for row in result.rows),
        "could_not_be_made": sum(row.status == "failed" for row in result.rows),
        "code": code_fingerprint()[:12],
    }
    add_result(record)
    print(json.dumps(record), flush=True)
    return record


class TimedEngine(Engine):
    """Another engine, with the sum of its jobs' seconds."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.slots)
        self._engine = engine
        self.jobs_s = 0.0

    def submit(self, work: Work) -> None:
        self._engine.submit(work)

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        found = self._engine.wait(timeout_s)
        self.jobs_s += sum(one.wall_s for one in found)
        return found

    def cancel(self) -> None:
        self._engine.cancel()


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
    matrix = lay_out(options.folder, MODELS, options.devices.split(",") if options.devices else DEVICES)
    timed("matrix", matrix, options.folder / "out", jobs=options.jobs, time_text=options.time)


def run_workers(options: argparse.Namespace) -> None:
    """The same part of the matrix from an empty cache, by one worker and by two."""
    for jobs in (1, 2):
        place = options.folder / f"workers-{jobs}"
        shutil.rmtree(place, ignore_errors=True)
        os.environ["EDGEKIT_CACHE_DIR"] = str(place / "cache")
        timed("workers", lay_out(place, MODELS[:2], ("pi4", "pixel8", "iphone15")), place / "out", jobs=jobs)


def run_ray(options: argparse.Namespace) -> None:
    """A part of the matrix by two raylets with caches of their own; one is killed when the first artifacts are made.

    The rows must be those of an undisturbed run of the local pool, and nothing is converted twice by those that live.
    """
    models, devices = MODELS[3:4], ("pi4", "pixel8", "iphone15")
    local, place = options.folder / "ray-local", options.folder / "ray"
    shutil.rmtree(place, ignore_errors=True)
    os.environ["EDGEKIT_CACHE_DIR"] = str(local / "cache")
    undisturbed = timed("local pool beside Ray", lay_out(local, models, devices), local / "out", jobs=2)
    matrix = lay_out(place, models, devices)
    share_cache(place)
    raylets = Raylets(place, 2)
    try:
        killer = threading.Thread(target=raylets.kill_one, args=(place / "shared" / "actions",), daemon=True)
        killer.start()
        ran = timed("two raylets, one killed", matrix, place / "out", jobs=2, engine="ray", raylets=raylets)
    finally:
        raylets.end()
    ours, theirs = (dict(map(row_facts, read_rows(one / "out"))) for one in (local, place))
    record = {
        "part": "ray against local",
        "killed_after_s": round(raylets.killed_after_s, 1),
        "rows": len(theirs),
        "rows_equal": sum(theirs.get(point) == facts for point, facts in ours.items()),
        "local_s": undisturbed["wall_s"],
        "ray_s": ran["wall_s"],
    }
    add_result(record)
    print(json.dumps(record), flush=True)


def run_fresh(options: argparse.Namespace) -> None:
    """The same jobs by one local worker, and by one raylet that has just started and has an empty cache of its own."""
    models, devices = MODELS[4:5], ("pi4",)
    local, place = options.folder / "fresh-local", options.folder / "fresh"
    shutil.rmtree(local, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    os.environ["EDGEKIT_CACHE_DIR"] = str(local / "cache")
    timed("one local worker", lay_out(local, models, devices), local / "out", jobs=1)
    matrix = lay_out(place, models, devices)
    share_cache(place)
    raylets = Raylets(place, 1)
    try:
        timed("one fresh raylet", matrix, place / "out", jobs=1, engine="ray", raylets=raylets)
    finally:
        raylets.end()


def share_cache(place: Path) -> None:
    """Gives this process a cache of its own, and what it starts one that all share."""
    os.environ |= {
        "EDGEKIT_CACHE_DIR": str(place / "cache"),
        "EDGEKIT_SHARED_CACHE": (place / "shared").as_uri(),
        "EDGEKIT_SHARED_CACHE_WRITE": "1",
    }


def row_facts(row: Row) -> tuple[str, Any]:
    """Returns what must be equal in two runs: all but times, memory, and what names the machine."""
    checks = [(x.name, x.verdict, x.value, x.limit) for x in row.checks if x.name != "memory"]
    return row.point, (row.status, row.made, row.artifact_sha256, row.message, checks)


class Raylets:
    """A head without CPUs and raylets of one CPU, each with an empty cache of its own."""

    def __init__(self, place: Path, count: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        # Ray's clusters may ask for a token: this one has its own, which whoever starts here inherits.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.began = time.monotonic()
        self.count = count
        self.killed_after_s = 0.0
        port = self.address.rpartition(":")[2]
        self._processes = [
            self._start(place / "head", "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"),
        ]
        time.sleep(8)
        self._processes += [
            self._start(place / f"raylet{i}", f"--address={self.address}", "--num-cpus=1") for i in range(count)
        ]
        time.sleep(8)

    def _start(self, place: Path, *arguments: str) -> subprocess.Popen[bytes]:
        place.mkdir(parents=True)
        environment = {**os.environ, "EDGEKIT_CACHE_DIR": str(place / "cache"), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", *arguments]
        log = (place / "log.txt").open("wb")
        return subprocess.Popen(command, env=environment, cwd=place, stdout=log, stderr=log, start_new_session=True)

    def engine(self) -> Engine:
        """Returns the engine once all raylets have joined the cluster."""
        deadline = time.monotonic() + 180
        while True:
            try:
                made = find_engine("ray", self.count, self.address)
                if made.slots == self.count:
                    return made
                made.cancel()
            except MachineError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(2)

    def kill_one(self, actions: Path) -> None:
        """Kills a raylet and all that it runs by SIGKILL once two artifacts lie in the shared cache."""
        while len(list(actions.rglob("artifacts/*.json"))) < 2:
            time.sleep(0.2)
        kill_tree(self._processes[-1].pid)
        self.killed_after_s = time.monotonic() - self.began

    def end(self) -> None:
        """Ends what is left."""
        for process in reversed(self._processes):
            kill_tree(process.pid)
            process.wait()
        # Else the next `ray.init` of this machine would look for the cluster that was.
        (Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster").unlink(missing_ok=True)


def kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for one in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def as_markdown(records: list[dict[str, Any]]) -> str:
    runs = [one for one in records if one["part"] != "ray against local"]
    lines = [f"| {' | '.join(_cells(one))} |" for one in runs]
    head = """# A real sweep

Runs of `python benchmarks/sweep_matrix.py PART`, each as it was put on record in `sweep_matrix.json`, on 2 shared cores
on which other heavy work ran at the same time: wall-clock times are upper bounds. The networks are those of
`sweep_nets.py`. In each run every model is captured anew, for user code may have changed. Load is the machine's load
average at the beginning and at the end, this run's own processes in it. The CPU time of Ray's workers is not measured.

| part | workers | wall | load | their CPU | driver's CPU | jobs | models | converted | judged | cached | rows | code |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""
    return head + "\n".join([*lines, "", *_words_about(records)]) + "\n"


def _cells(one: dict[str, Any]) -> list[str]:
    load = " to ".join(map(str, one["load"]))
    workers_cpu = "not measured" if one["workers_cpu_s"] is None else f"{one['workers_cpu_s']:.0f} s"
    times = (f"{one['wall_s']:.0f} s", load, workers_cpu, f"{one['driver_cpu_s']:.1f} s")
    counts = (one["started"], one["captured"], one["converted"], one["judged"] + one["failed"], one["cached"])
    there = f"{one['combinations'] - one['missing']} of {one['combinations']}"
    return [one["part"], str(one["jobs"]), *times, *map(str, counts), there, f"`{one['code']}`"]


def _words_about(records: list[dict[str, Any]]) -> list[str]:
    """Returns the figures that follow from the runs."""
    words: list[str] = []
    matrix = [one for one in records if one["part"] == "matrix"]
    if matrix:
        converted, artifacts = sum(one["converted"] for one in matrix), matrix[-1]["artifacts"]
        others = artifacts - converted
        words.append(
            f"- Artifacts of the matrix (model, format, recipe): {artifacts}, for {matrix[-1]['combinations']} rows; "
            f"{converted} of them were converted in the runs above"
            + (f", {others} in a run that was killed before it put anything on record." if others else ".")
        )
        if matrix[-1]["missing"]:
            words.append(f"- The matrix is not finished: {matrix[-1]['missing']} of its rows are not judged yet.")
    for one in [one for one in matrix if one["cached"] and not one["judged"] + one["failed"]][:1]:
        done = 100 * one["cached"] / one["combinations"]
        words.append(f"- The second run of what was there: {done:.1f} % of rows from before, {one['wall_s']:.0f} s.")
    workers = {one["jobs"]: one for one in records if one["part"] == "workers"}
    words += [
        f"- From an empty cache, {one['jobs']} worker{'s' * (one['jobs'] > 1)}: {one['converted']} conversions for "
        f"{one['artifacts']} artifacts and {one['combinations']} rows."
        for one in workers.values()
    ]
    if {1, 2} <= workers.keys():
        words.append(_words_about_workers(workers[1], workers[2]))
    named = {one["part"]: one for one in records}
    if "one fresh raylet" in named:
        fresh, local = named["one fresh raylet"], named["one local worker"]
        more = (fresh["wall_s"] - local["wall_s"]) / fresh["started"]
        outside = [(one["wall_s"] - one["jobs_s"]) / one["started"] for one in (fresh, local)]
        words.append(
            f"- A raylet that has just started, its cache empty, against a local worker: {more:+.1f} s of wall-clock "
            f"time a job, {100 * more / 60:+.0f} % of a job of a minute. {outside[0] - outside[1]:.1f} s of it pass "
            "outside of the jobs, the rest within them, where the load of others is not told from what Ray and the "
            "shared cache cost."
        )
    for one in [one for one in records if one["part"] == "ray against local"]:
        equal = f"{one['rows_equal']} of {one['rows']} rows equal those of an undisturbed local run"
        words.append(
            f"- Two raylets with caches of their own, one killed after {one['killed_after_s']:.0f} s of "
            f"{one['ray_s']:.0f} s: {equal}."
        )
    return words


def _words_about_workers(one: dict[str, Any], two: dict[str, Any]) -> str:
    """Returns the efficiency of two workers, by the clock and by what the load of others does not change."""
    linear = one["wall_s"] / (2 * two["wall_s"])
    filled = two["jobs_s"] / (2 * two["wall_s"])
    workers = one["workers_cpu_s"] / two["workers_cpu_s"]
    counted = one["workers_cpu_s"] / (two["workers_cpu_s"] + two["driver_cpu_s"])
    return (
        f"- Two workers against one: {linear:.2f} of linear by wall-clock time, which the load of others changes. Jobs "
        f"filled {100 * filled:.0f} % of the two workers' time; by one, the work took {workers:.2f} of their CPU time "
        f"({counted:.2f} with the driver's own on the side of two): {filled * workers:.2f} of linear without the "
        f"driver, {filled * counted:.2f} with it."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("matrix", "workers", "ray", "fresh"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--devices", help="names with commas; all fifteen where none are given")
    parser.add_argument("--time", help="nothing more is started after this time")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.part and options.folder is None:
        sys.exit("--folder FOLDER is needed")
    if options.part:
        options.folder = options.folder.resolve()
        {"matrix": run_matrix, "workers": run_workers, "ray": run_ray, "fresh": run_fresh}[options.part](options)
    if options.write:
        RESULTS.with_suffix(".md").write_text(as_markdown(read_results()))


if __name__ == "__main__":
    main()
