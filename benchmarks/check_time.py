"""What the checks of soundness and of records cost: their share of an export, the gate, and a cached plan.

    python benchmarks/check_time.py [--write]

Exports with an empty cache, and adds up the wall-clock time that passes in what a verdict needs beyond running the
artifact: the float model after techniques, the pairing of outputs, their layouts, all validators, and the hashes and
figures of the records. Limits: 5 % of an export, 1 s for a plan whose work is in the cache. `--write` puts the table
into `benchmarks/results/check_time.md`. Needs no data.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundness_artifacts

from edgekit.exporting import judge, record_check, record_files
from edgekit.pipeline.settings import Settings
from edgekit.task.request import make_request
from edgekit.trials import export_request
from edgekit.workers.cache import Cache

HERE = Path(__file__).parent
FOUR = "tflite,onnx,executorch,coreml"
OPEN = {"size": "1 GB", "memory": "4 GB", "latency": "10 s", "accuracy_drop": "100 pp"}
TIMED = ((judge, "with_float_model"), (judge, "judge_evidence"), (export_request, "write_report"))
"""Module and function of what the checks do in an export; none calls another."""


@contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the time that passes in the functions of TIMED."""

    def watch(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.monotonic() - started

        return call

    originals = [(module, name, getattr(module, name)) for module, name in TIMED]
    for module, name, function in originals:
        setattr(module, name, watch(function, name))
    try:
        yield
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


def exported(title: str, config: Path | None, techniques: tuple[str, ...], work: Path) -> str:
    """Exports one model to four formats at INT8; returns its row."""
    request = make_request(
        model=None,
        device="pi4",
        config=config,
        formats=FOUR,
        precision="int8",
        techniques=techniques or None,
        limits=OPEN,
        cwd=work,
    )
    spent: dict[str, float] = {}
    started = time.monotonic()
    with timed(spent):
        out = work / f"out-{title}"
        done = export_request.run_export(
            export_request.ExportRequest(request=request, output=out),
            Settings(cache=Cache(root=work / f"cache-{title}")),
            lambda *_: None,
        )
    total = time.monotonic() - started
    if failed := [result.error.message for result in done.report.results if result.error is not None]:
        raise SystemExit("\n".join(failed))
    reading = time.monotonic()
    from edgekit.exporting.lock import read_lock

    record_check.find_contradictions(record_files.read_report(out), read_lock(out / "edgekit.lock"), out)
    reading = time.monotonic() - reading
    checks = sum(spent.values())
    parts = " | ".join(f"{spent.get(name, 0.0):.2f} s" for _, name in TIMED)
    return f"| {title} | {total:.1f} s | {parts} | {100 * checks / total:.2f} % | {reading:.2f} s |"


def cached_plan(work: Path) -> tuple[float, float]:
    """Returns wall-clock and CPU seconds of a plan that was made before."""
    environment = {**os.environ, "EDGEKIT_CACHE_DIR": str(work / "plan-cache")}
    command = [sys.executable, "-m", "edgekit", "plan", "--device", "pi4", "-q"]
    for _ in range(2):
        before, started = os.times(), time.monotonic()
        subprocess.run(command, check=False, env=environment, cwd=work, capture_output=True)
        after, wall = os.times(), time.monotonic() - started
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = [
        "| INT8, four formats | wall | float model, pairing | validators | records written | share | gate reads |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        config = work / "cnn.toml"
        config.write_text(
            soundness_artifacts.TASK.format(
                tasks=soundness_artifacts.TASKS, name="cnn", kind="image", metric="agreement"
            )
        )
        for title, path, techniques in (
            ("small CNN", config, ()),
            ("small CNN, rounded", config, ("round_weights",)),
            ("embedded default", None, ()),
        ):
            lines.append(exported(title, path, techniques, work))
            print(lines[-1], flush=True)
        wall, cpu = cached_plan(work)
    lines += ["", f"A plan of the embedded default, its work in the cache: {wall:.2f} s wall, {cpu:.2f} s CPU."]
    print("\n".join(lines))
    if options.write:
        text = (
            "# Time of the checks\n\nOutput of `python benchmarks/check_time.py --write` (two shared cores). What is "
            "timed: the head of that file.\n\n"
        )
        (HERE / "results" / "check_time.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
