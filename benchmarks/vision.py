"""INT8 of small detectors, a segmenter and classifiers against labels, by the default command in four formats.

    EDGEKIT_TRAINED=DIR python benchmarks/vision.py [NET ...] [--formats tflite,onnx] [--write]

Draws its own labelled set (`benchmarks/tasks/vision`: 2,000 judged scenes with exact boxes and masks, and CIFAR-10's
5,000 judged pictures), trains the networks that are not trained yet and exports each to each format at INT8. A row is
printed and kept in DIR/vision/rows.jsonl as soon as it is known, so that a run that was ended goes on; `--write` puts
all that are kept into `benchmarks/results/vision.md`. Needs EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "tasks" / "vision"
RESULTS: Final = HERE / "results" / "vision.md"
sys.path.insert(0, str(FOLDER))
from train import MODULES
from training import FOLDER as TRAINED

ROWS: Final = TRAINED / "rows.jsonl"
FORMATS: Final = ("tflite", "onnx", "executorch", "coreml")
DETECTORS: Final = ("dfl", "anchors")
GOALS: Final = {"detection": "median -0.3, worst -1.0", "segmentation": "-0.3", "classification": "-0.5"}
# The budgets are opened wide: this measures, and the goals stand beside the figures in the results.
OPEN: Final = ("--max-size", "100 MB", "--max-memory", "2 GB", "--max-drop", "100 pp", "--max-latency", "10 s")

HEADER: Final = """# Vision: INT8 against labels

Output of `python benchmarks/vision.py --write`. Detectors and the segmenter are judged on 2,000 drawn scenes of 128 x
128 whose boxes and masks are exact (photographs and objects that neither training nor calibration saw), classifiers on
CIFAR-10's 5,000 judging pictures. Each network learned for some minutes on one core (`benchmarks/tasks/vision`). "loss"
is what the artifact changes in the metric, in points, with the 95 % interval by bootstrap over the pictures (top-1:
Tango's). The recipe is what the default command chose.

| network | metric | float | format | recipe | INT8 | loss [95 % interval] | parity |
|---|---|---:|---|---|---:|---:|---:|
"""


def exported(net: str, runtime: str, precision: str, metric: str | None) -> dict[str, Any]:
    """Returns what `edgekit export` reports about one format."""
    command = [sys.executable, "-m", "edgekit", "export", "-c", str(FOLDER / f"{net}.toml"), "--device", "pi4"]
    command += ["--format", runtime, "--precision", precision, "--json", *OPEN]
    command += ["--metric", metric] if metric else []
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command, "-o", folder], stdout=subprocess.PIPE, text=True, check=False)
    data = json.loads(done.stdout)
    if "error" in data:
        raise SystemExit(f"{net} {runtime}: {data['error']['message']}")
    return {"metric": data["data"]["metric"], **data["formats"][0]}


def measured(net: str, runtime: str, precision: str = "int8", metric: str | None = None) -> dict[str, Any]:
    """Returns a row: figures of one artifact."""
    entry = exported(net, runtime, precision, metric)
    row: dict[str, Any] = {"net": net, "format": runtime, "precision": precision, "metric": entry["metric"]}
    checks = {check["name"]: check for check in entry["checks"]}
    drop = checks.get("accuracy_drop", {}).get("value")
    if drop is None:
        return {**row, "failed": (entry["error"] or {}).get("message", "no accuracy was measured").splitlines()[0]}
    value = checks["accuracy"]["value"]
    row |= {"recipe": entry["precision"], "value": value, "float": value + drop, "loss": -drop}
    row |= {"low": -checks["accuracy_drop"]["high"], "high": -checks["accuracy_drop"]["low"]}
    return {**row, "parity": checks["parity"]["value"]}


def key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["net"], row["format"], row["metric"].partition("(")[0]


def kept() -> list[dict[str, Any]]:
    """Returns the rows of this and earlier runs; a later one takes the place of an earlier one."""
    lines = ROWS.read_text().splitlines() if ROWS.is_file() else []
    rows = [json.loads(line) for line in lines]
    return list({key(row): row for row in rows}.values())


def line(row: Mapping[str, Any]) -> str:
    metric = row["metric"].partition("(")[0]
    if "failed" in row:
        return f"| {row['net']} | {metric} | | {row['format']} | not made: {row['failed']} | | | |"
    loss = f"{row['loss']:+.2f} [{row['low']:+.2f} to {row['high']:+.2f}]"
    return (
        f"| {row['net']} | {metric} | {row['float']:.2f} | {row['format']} | {row['recipe']} | {row['value']:.2f} "
        f"| {loss} | {row['parity']:.1f} dB |"
    )


def wanted(nets: Sequence[str], formats: Sequence[str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Yields (net, format, precision, metric); a detector's float mAP at 0.5 says what it is worth."""
    for net in nets:
        yield from ((net, runtime, "int8", None) for runtime in formats)
        if net in DETECTORS:
            yield net, "tflite", "fp32", "map50"


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns median and worst loss of each task beside the goal."""
    lines = ["", "| task | networks x formats | median loss | worst loss | goal |", "|---|---:|---:|---:|---|"]
    for task, goal in GOALS.items():
        nets = DETECTORS if task == "detection" else ("segmenter",) if task == "segmentation" else tuple(MODULES)[3:]
        losses = [row["loss"] for row in rows if row["net"] in nets and row["precision"] == "int8" and "loss" in row]
        if losses:
            median = statistics.median(losses)
            lines.append(f"| {task} | {len(losses)} | {median:+.2f} | {min(losses):+.2f} | {goal} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=list(MODULES), metavar="NET", help=", ".join(MODULES))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(HERE.parent)}")
    options = parser.parse_args()
    subprocess.run([sys.executable, FOLDER / "train.py", *options.nets], check=True)
    done = {key(row) for row in kept()}
    for net, runtime, precision, metric in wanted(options.nets, options.formats.split(",")):
        task_metric = metric or {"detectors": "map", "segmenter": "miou", "classifiers": "top1"}[MODULES[net]]
        if (net, runtime, task_metric) in done:
            continue
        row = measured(net, runtime, precision, metric)
        with ROWS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(line(row), flush=True)
    if options.write:
        rows = sorted(kept(), key=lambda row: (list(MODULES).index(row["net"]), FORMATS.index(row["format"])))
        RESULTS.write_text(HEADER + "\n".join(map(line, rows)) + "\n" + summary(rows))


if __name__ == "__main__":
    main()
