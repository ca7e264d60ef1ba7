"""What the driver of a sweep costs: the real scheduler against simulated jobs, on 1 to 256 workers.

    python benchmarks/sweep.py [--jobs 10000] [--write]

The graph is that of a sweep of models x 15 devices x 4 formats x 3 precisions: captures of up to ten models a job, an
artifact a (model, format, precision), a judgement of its 15 rows. Requests are made by the real stages; nothing is run.
Durations are drawn from log-normal distributions with a fixed seed, around what the networks of `sweep_nets.py` take
on an idle core: 4 s and 4 s a model (capture), 10 s (artifact), 2 s and 0.1 s a row (judgement). Time is simulated, but
the driver's own CPU time is measured and passes in the simulation while it works: workers wait for it. What an engine
itself spends on a job, such as the start of a process, is not in it.

efficiency   work / (workers x time to the end): 1 is a driver that costs nothing and work that can be split evenly
bound        the same for a driver without cost: the graph, and the last jobs that leave workers idle, allow no more
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import platform
import random
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.engines.engine import Ended, Engine, Work
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.model import CapturedModel
from edgekit.sweeping.captures import Capture, Captures
from edgekit.sweeping.jobs import JudgedRows, MadeArtifacts
from edgekit.sweeping.matrix import ModelEntry, Point
from edgekit.sweeping.schedule import drive
from edgekit.sweeping.stages import SweepPlan, SweepStages
from edgekit.sweeping.task_text import TaskText

HERE = Path(__file__).parent
WORKERS = (1, 2, 4, 16, 64, 256)
MEDIANS_S = {"capture": (4.0, 4.0), "make": (10.0, 0.0), "judge": (2.0, 0.1)}
DEVICES, FORMATS, PRECISIONS = 15, ("a", "b", "c", "d"), ("fp16", "int8", "int4")
SPREAD = 0.5


class SimulatedEngine(Engine):
    """Ends jobs at simulated times. `driver_counts`: the driver's CPU time passes while it works."""

    def __init__(self, slots: int, *, driver_counts: bool) -> None:
        super().__init__(slots)
        self.now = 0.0
        self.work_s = 0.0
        self.running: list[tuple[float, int, Work, float]] = []
        self.count = 0
        self._counts = driver_counts
        self._mark = time.process_time()

    def _let_driver_pass(self) -> None:
        spent = time.process_time() - self._mark
        self.now += spent if self._counts else 0.0

    def submit(self, work: Work) -> None:
        self._let_driver_pass()
        took = math.exp(random.Random(work.name).gauss(math.log(seconds_of(work)), SPREAD))
        self.count += 1
        self.work_s += took
        heapq.heappush(self.running, (self.now + took, self.count, work, took))
        self._mark = time.process_time()

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:  # noqa: ARG002  something always ends
        self._let_driver_pass()
        end, _, work, took = heapq.heappop(self.running)
        self.now = max(self.now, end)
        found = [Ended(name=work.name, value=result_of(work), wall_s=took)]
        while self.running and self.running[0][0] <= self.now:
            _, _, work, took = heapq.heappop(self.running)
            found.append(Ended(name=work.name, value=result_of(work), wall_s=took))
        self._mark = time.process_time()
        return tuple(found)

    def cancel(self) -> None:
        self.running.clear()


def seconds_of(work: Work) -> float:
    """Returns the median of a job: what it costs to start, and what each model or row in it costs."""
    kind = work.name.partition(" ")[0]
    parts = {"capture": "models", "judge": "rows"}
    count = len(getattr(work.request, parts[kind])) if kind in parts else 1
    start_s, each_s = MEDIANS_S[kind]
    return start_s + each_s * count


def result_of(work: Work) -> Any:
    kind = work.name.partition(" ")[0]
    if kind == "capture":
        return Captures(found=tuple(Capture(name=one.name, inputs=inputs_of(one.name)) for one in work.request.models))
    if kind == "make":
        return MadeArtifacts(made=1, converted=1)
    return JudgedRows(rows=tuple(replace(row, status="judged") for row in work.request.rows), written=True)


def inputs_of(name: str) -> CapturedInputs:
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("net.pt2"), inputs=(),
        outputs=(), digest=name, parameters=1, macs=1, family="cnn", family_evidence="",
    )  # fmt: skip
    return CapturedInputs(
        model=model, torch_model=model, torch_failure=None, calibration=None, evaluation=None, reference=None
    )


def plan_of(jobs: int, folder: Path) -> SweepPlan:
    """Returns a sweep of about so many jobs."""
    of_a_model = 0.1 + len(FORMATS) * len(PRECISIONS) * 2  # captures share jobs, and so do the rows of an artifact
    models = [
        ModelEntry(name=f"model {i}", source=f"model{i}.py:build", config=None, folder=folder)
        for i in range(max(1, round(jobs / of_a_model)))
    ]
    devices = [f"device{i}" for i in range(DEVICES)]
    points = tuple(
        Point(model=model, device=device, format=name, precision=precision, pipeline=(), effort="quick")
        for model in models
        for device in devices
        for name in FORMATS
        for precision in PRECISIONS
    )
    return SweepPlan(
        points=points,
        tasks={m.name: TaskText(source=m.source, config=None, folder=folder, timeout_s=1800.0) for m in models},
        devices={device: f"{device}.toml" for device in devices},
        facts={(model.name, device): "facts" for model in models for device in devices},
        code="code",
        folder=folder,
    )


def simulate(plan: SweepPlan, workers: int, *, driver_counts: bool) -> dict[str, float]:
    engine = SimulatedEngine(workers, driver_counts=driver_counts)
    started = time.process_time()
    stages = SweepStages(plan, workers)
    driven = drive(stages.graph(), stages, engine)
    cpu_s = time.process_time() - started
    return {
        "jobs": driven.started,
        "end_s": engine.now,
        "efficiency": engine.work_s / (workers * engine.now),
        "driver_ms_a_job": 1000 * cpu_s / driven.started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(arguments.jobs, Path(folder))
        rows = []
        for workers in WORKERS:
            bound = simulate(plan, workers, driver_counts=False)["efficiency"]
            rows.append({"workers": workers, **simulate(plan, workers, driver_counts=True), "bound": bound})
            print(json.dumps(rows[-1]))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = as_markdown(rows, peak_mb)
    print(text)
    if arguments.write:
        (HERE / "results" / "sweep.md").write_text(text)


def as_markdown(rows: list[dict[str, float]], peak_mb: float) -> str:
    lines = [
        f"| {row['workers']} | {row['jobs']:.0f} | {row['end_s'] / 3600:.2f} h | {row['efficiency']:.3f} "
        f"| {row['bound']:.3f} | {row['driver_ms_a_job']:.2f} ms |"
        for row in rows
    ]
    head = f"""# The driver of a sweep, simulated

`python benchmarks/sweep.py --write` on {platform.machine()}, Python {platform.python_version()}: the real scheduler and
stages against simulated jobs (medians: capture 4 s and 4 s a model, artifact 10 s, judgement 2 s and 0.1 s a row). The
driver's CPU time counts. Not in it: what an engine spends on a job (the start of a process), and the writing of rows,
which is the workers'. The peak resident set of the whole simulation was {peak_mb:.0f} MB.

| workers | jobs | simulated time | efficiency | without the driver's cost | driver's CPU a job |
|---|---|---|---|---|---|
"""
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
