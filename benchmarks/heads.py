"""Joined heads in INT8: detections that are kept and what that costs, by the default command against all-integer.

    python benchmarks/heads.py [--only HEAD ...] [--formats tflite,onnx] [--rounds N] [--write]

Trains three small detectors on drawn pictures (`benchmarks/tasks/heads`, about a minute each, once), exports each with
`edgekit export ... --precision int8` and, for comparison, with everything in integers, and runs both in their own
runtimes on 300 pictures that neither training nor calibration has seen. A detection of the float model (score from
0.25 on, suppressed at an overlap of 0.7) is kept where the artifact has one of the same class that overlaps by half.
Latencies are this host's, both artifacts in turn; Core ML's runtime is not on this host. A row is printed as soon as it
is known; `--write` puts the table into `benchmarks/results/heads.md`. Goals: 97 % kept, latency at most 1.05 times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.gating.interleaved_timing import ROUNDS, estimate_ratio, time_in_turn
from edgekit.heads.suppression import overlaps, suppress
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import artifact_at, convert
from edgekit.pipeline.samples import prepare_samples, reference_outputs
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.registry import FORMATS
from edgekit.samples import Samples
from edgekit.task.task import Task
from edgekit.validators.execution import collect_evidence

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "tasks" / "heads"
RESULTS: Final = HERE / "results" / "heads.md"
HEADS: Final = ("plain", "bins", "points")
CLASSES: Final = 3
SCORE: Final = 0.25
OVERLAP: Final = 0.7
HIT: Final = 0.5
OPEN: Final = ("--max-size", "100 MB", "--max-memory", "2 GB", "--max-drop", "100 pp", "--max-latency", "10 s")

HEADER: Final = """# Joined heads in INT8

Output of `python benchmarks/heads.py --write`. Boxes 0 to 640 and scores 0 to 1 in one output. "kept" is the share of
the float model's detections that the artifact has too, "false" how many it has beside them for 100 of the float
model's. "x all-integer" is this host's median ratio over processes, with its 99 % interval.

| head | format | recipe | kept | false | kept, all-integer | false, all-integer | x all-integer |
|---|---|---|---:|---:|---:|---:|---:|"""

Found = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Boxes (n, 4) x1, y1, x2, y2 and classes (n,) of one picture, highest score first."""


def decided(output: NDArray[Any]) -> Found:
    """Returns the detections in one output (4 + CLASSES or more, cells)."""
    centre, size, scores = (part.astype(np.float64).T for part in (output[:2], output[2:4], output[4 : 4 + CLASSES]))
    cells, classes = np.nonzero(scores >= SCORE)
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)[cells]
    kept = suppress(boxes, scores[cells, classes], classes, OVERLAP, 100)
    return boxes[kept], classes[kept]


def compare(expected: Sequence[Found], found: Sequence[Found]) -> tuple[float, float]:
    """Returns the share of expected detections that are found, and that of false ones, both in percent of expected."""
    total = hits = false = 0
    for (boxes, classes), (own, own_classes) in zip(expected, found, strict=True):
        free = np.ones(len(own), bool)
        total += len(boxes)
        for box, kind in zip(boxes, classes, strict=True):
            fitting = np.where(free & (own_classes == kind), overlaps(box, own), 0.0) if len(own) else np.zeros(0)
            if fitting.size and fitting.max() >= HIT:
                free[int(fitting.argmax())] = False
                hits += 1
        false += int(free.sum())
    return 100 * hits / total, 100 * false / total


def outputs_of(artifact: Artifact, samples: Samples) -> list[Found]:
    """Runs an artifact in its own runtime."""
    with tempfile.TemporaryDirectory() as folder:
        evidence = collect_evidence(artifact, folder=Path(folder), evaluation=samples, pieces=("outputs",))
        if evidence.outputs is None:
            raise SystemExit(f"{artifact.path}: {evidence.why_missing('outputs')}")
        return [decided(row[0][0]) for row in evidence.outputs.rows()]


def exported(head: str, formats: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Returns what `edgekit export` reports about each format; its artifacts lie in `folder`."""
    task = f"{FOLDER}/detector.py"
    command = [sys.executable, "-m", "edgekit", "export", f"{task}:{head}", "--device", "pi4", "--precision", "int8"]
    command += ["--example-inputs", f"{task}:example_inputs", "--calibration", f"{task}:calibration", "--json"]
    command += ["--format", ",".join(formats), "-o", str(folder), *OPEN]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return {entry["runtime"]: entry for entry in json.loads(done.stdout)["formats"]}


def rows(head: str, formats: Sequence[str], rounds: int, settings: Settings) -> list[str]:
    """Returns one row for each format."""
    task = Task(
        model=f"detector.py:{head}",
        base=FOLDER,
        example_inputs="detector.py:example_inputs",
        calibration="detector.py:calibration",
        evaluation="detector.py:evaluation",
        metric="cosine",
    )
    model = capture_model(task, settings)
    calibration = prepare_samples(task, model, "calibration", settings)
    evaluation = prepare_samples(task, model, "evaluation", settings)
    if evaluation is None:
        raise SystemExit("detector.py has evaluation data")
    expected = [decided(row[0][0]) for row in reference_outputs(model, evaluation, settings).rows()]
    made: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        entries = exported(head, formats, Path(name) / "out")
        for runtime in formats:
            entry = entries[runtime]
            if entry["artifact"] is None:
                made.append(f"| {head} | {runtime} | not made: {entry.get('error')} | | | | | |")
                continue
            default = artifact_at(Path(name) / "out" / entry["artifact"]["path"], runtime, entry["precision"])
            whole = convert(model, runtime, Recipe(default="int8_static"), calibration, settings).artifact
            cells = [f"{value:.1f} %" for artifact in (default, whole)
                     for value in compare(expected, outputs_of(artifact, evaluation))]  # fmt: skip
            ratio = slower(default, whole, rounds)
            made.append(f"| {head} | {runtime} | {entry['precision']} | {' | '.join(cells)} | {ratio} |")
            print(made[-1], flush=True)
    return made


def slower(new: Artifact, old: Artifact, rounds: int) -> str:
    """Returns how many times as long the new artifact takes, in words."""
    if new.runtime == "coreml" or not rounds:
        return "not measured"
    try:
        timed = time_in_turn(new.path, old.path, new.runtime, rounds=rounds, timeout_s=600)
    except EdgekitError as error:
        return error.message.splitlines()[0]
    if timed.missing:
        return timed.missing
    found = estimate_ratio(timed.rounds)
    return f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print(HEADER)
    lines = [row for head in options.only for row in rows(head, options.formats.split(","), options.rounds, Settings())]
    if options.write:
        RESULTS.write_text("\n".join([HEADER, *lines]) + "\n")


if __name__ == "__main__":
    main()
