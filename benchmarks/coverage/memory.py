"""Predicted beside measured memory on architectures of the coverage benchmark.

    python benchmarks/coverage/memory.py --work FOLDER [--only NAME,...] [--formats onnx,executorch]
                                         [--precisions fp32,int8] [--seconds 600] [--write]

Each artifact is converted from the capture that `coverage.py` shares and run in a fresh process, by the measurement of
`validate` (peak beyond the empty runtime). What was measured is kept in FOLDER/memory.jsonl, so a stopped run goes on
where it was; predictions are made anew by the code as it is. `--seconds` starts none after so long; `--write`
puts the table into `benchmarks/results/memory.md`. Goals: median error at most 6 %, 95 % of the artifacts within 20 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE.parent / "results" / "memory.md"
SECONDS_AN_ARCHITECTURE: Final = 900

Row = dict[str, Any]


def measure(name: str, runtime: str, precision: str, work: Path) -> Row:
    """Returns the memory that an artifact takes, and the recipe that it was made with.

    Raises:
        EdgekitError: it cannot be captured or converted, or does not run.
    """
    from capture import captured
    from own import converted

    from edgekit.artifact import Artifact, measure_files
    from edgekit.errors import WorkerError
    from edgekit.planner.recipes import resolve_precision
    from edgekit.samples import Samples
    from edgekit.validators.execution import collect_evidence

    model, calibration = captured(name, work)
    recipe = resolve_precision(precision, model.family, runtime)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path, made = converted(model, runtime, recipe, calibration, folder)
        size, download, digest = measure_files(path)
        artifact = Artifact(
            path=path, runtime=runtime, precision=recipe.name, size_bytes=size, download_bytes=download, sha256=digest,
            inputs=made.inputs, outputs=made.outputs,
        )  # fmt: skip
        evidence = collect_evidence(artifact, folder=folder, evaluation=Samples.open(calibration), pieces=("memory",))
    peak, empty = evidence.peak_memory_bytes, evidence.empty_memory_bytes
    if peak is None or empty is None:
        raise WorkerError(evidence.why_missing("memory"))
    return {"measured": peak - empty, "bytes": size, "recipe": recipe.name, "family": model.family}


def predict(row: Row, work: Path) -> dict[str, float | None]:
    """Returns the prediction for an artifact that was measured, by the code as it is: value, low, high."""
    from edgekit.analysis.graph import Analysis
    from edgekit.pipeline.analysis import ANALYSIS_NAME
    from edgekit.planner.recipes import resolve_precision
    from edgekit.predict.memory import predict_memory
    from edgekit.workers.structure import read_value

    analysis = read_value(work / "captures" / row["name"] / "captured" / ANALYSIS_NAME, Analysis)
    recipe = resolve_precision(row["precision"], row["family"], row["format"])
    found = predict_memory(analysis, recipe, row["format"])
    return {"predicted": found.value, "low": found.low, "high": found.high}


def work_on(names: Sequence[str], options: argparse.Namespace) -> None:
    """Measures every artifact of some architectures that has no row yet, and keeps each row at once."""
    import stubs  # noqa: F401  before timm and ultralytics

    from edgekit.errors import EdgekitError

    path = options.work / "memory.jsonl"
    done = {(row["name"], row["format"], row["precision"]) for row in load(path)}
    for name in names:
        for runtime in options.formats.split(","):
            for precision in options.precisions.split(","):
                if (name, runtime, precision) in done:
                    continue
                row: Row = {"name": name, "format": runtime, "precision": precision}
                try:
                    row |= measure(name, runtime, precision, options.work)
                except EdgekitError as error:
                    row["reason"] = error.message.splitlines()[0].replace(f"{HERE}/", "")
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    os._exit(0)  # frameworks' destructors crash or hang now and then


def load(path: Path) -> list[Row]:
    """Returns the rows so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Works on one architecture after the other, each in a process of its own."""
    started = time.monotonic()
    for name in names:
        if time.monotonic() - started > options.seconds:
            return
        command = [sys.executable, __file__, "--worker", name, "--work", str(options.work)]
        command += ["--formats", options.formats, "--precisions", options.precisions]
        try:
            subprocess.run(command, check=False, timeout=SECONDS_AN_ARCHITECTURE)
        except subprocess.TimeoutExpired:
            print(f"{name}: ended after {SECONDS_AN_ARCHITECTURE} s", file=sys.stderr)


def report(rows: Sequence[Row]) -> Iterator[str]:
    """Yields the lines of the results: totals by format, then every artifact."""
    by_format: defaultdict[str, list[float]] = defaultdict(list)
    inside: defaultdict[str, list[bool]] = defaultdict(list)
    for row in rows:
        for key in (row["format"], "all"):
            by_format[key].append(row["predicted"] / row["measured"] - 1)
            inside[key].append(row["low"] <= row["measured"] <= row["high"])
    yield "| format | artifacts | median error | within 10 % | within 20 % | largest | inside the band |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for key in sorted(by_format, key=lambda key: (key == "all", key)):
        errors = [abs(error) for error in by_format[key]]
        shares = [100 * sum(error <= limit for error in errors) / len(errors) for limit in (0.1, 0.2)]
        middle = f"{100 * statistics.median(errors):.1f} % | {shares[0]:.0f} % | {shares[1]:.0f} %"
        yield (
            f"| {key} | {len(errors)} | {middle} "
            f"| {100 * max(by_format[key], key=abs):+.0f} % | {sum(inside[key])} of {len(errors)} |"
        )
    yield ""
    yield "| architecture | format | precision | file | measured | predicted | error |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for row in sorted(rows, key=lambda row: (row["name"], row["format"], row["precision"])):
        error = 100 * (row["predicted"] / row["measured"] - 1)
        cells = " | ".join(f"{row[key] / 1e6:.2f} MB" for key in ("bytes", "measured", "predicted"))
        yield f"| {row['name']} | {row['format']} | {row['recipe']} | {cells} | {error:+.1f} % |"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default="", help="beginnings of names, with commas; default all")
    parser.add_argument("--formats", default="onnx,executorch")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--seconds", type=float, default=0.0, help="start none after so long; 0 measures none")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.worker:
        work_on([options.worker], options)
    if options.seconds:
        run(options, chosen(options.only))
    rows = load(options.work / "memory.jsonl")
    left_out = [row for row in rows if "measured" not in row]
    known = [row | predict(row, options.work) for row in rows if "measured" in row]
    known = [row for row in known if row["predicted"] is not None]
    lines = list(report(known)) if known else []
    lines += [
        "",
        *(f"- not made: {row['name']} {row['format']} {row['precision']}: {row['reason']}" for row in left_out),
    ]
    print("\n".join(lines))
    if options.write:
        title = "# Memory: predicted beside measured, architectures of the coverage benchmark"
        how = "Written by `python benchmarks/coverage/memory.py --work FOLDER --write`: peak beyond the empty runtime."
        RESULTS.write_text("\n".join([title, "", how, "", *lines]).rstrip() + "\n")


def chosen(only: str) -> list[str]:
    """Returns the names of the architectures, a cross section first."""
    import stubs  # noqa: F401  before timm and ultralytics
    from coverage import in_turns
    from zoo import entries

    wanted = tuple(only.split(",")) if only else ("",)
    return in_turns([name for name in entries() if name.startswith(wanted)])


if __name__ == "__main__":
    main()
