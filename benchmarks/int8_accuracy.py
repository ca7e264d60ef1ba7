"""INT8 in all four formats on real models and data: agreement, accuracy drop, SQNR, size, host latency ratio.

    python benchmarks/int8_accuracy.py [TASK ...] [--write]

Runs `edgekit export` to all four formats at INT8 on each task of `benchmarks/tasks/`, every artifact in its own
runtime, and prints one table. `--write` puts the rows of these tasks in place of their old ones in
`benchmarks/results/int8_accuracy.md`. Needs EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("EDGEKIT_SHARED", HERE.parents[1] / "shared"))
KERAS = SHARED / "models/mlperf_tiny/pretrainedResnet.h5"
REFERENCE = SHARED / "models/mlperf_tiny/pretrainedResnet_quant.tflite"

# The budgets are opened wide: this measures, and the goals stand beside the figures in the results.
OPEN = ["--max-size", "100 MB", "--max-memory", "2 GB", "--max-drop", "100 pp", "--max-latency", "10 s"]

TASKS: dict[str, list[str]] = {
    "efficientnet_lite0": ["--format", "tflite,onnx,executorch,coreml"],
    "efficientnet_lite0, thorough": ["--format", "tflite,onnx,executorch,coreml", "--effort", "thorough"],
    "efficientnet_lite0:top1": ["--format", "tflite,onnx,executorch,coreml"],
    "minilm": ["--format", "tflite,onnx,executorch,coreml"],
    "mlperf_tiny_resnet": ["--format", "tflite,onnx,coreml"],
    "resemblyzer": ["--format", "tflite,onnx,executorch,coreml"],
}


def run(arguments: list[str], device: str = "pi4") -> dict[str, Any]:
    """Runs edgekit with --json and returns its object; its messages go to stderr."""
    command = [sys.executable, "-m", "edgekit", *arguments, "--device", device, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    data: dict[str, Any] = json.loads(done.stdout)
    if "error" in data:
        raise SystemExit(data["error"]["message"])
    return data


def check(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return next((item for item in entry["checks"] if item["name"] == name), {"value": None})


def figure(value: float | None, text: str) -> str:
    return "-" if value is None else text.format(value)


def row(name: str, entry: dict[str, Any]) -> str:
    if entry["artifact"] is None or (entry["error"] and not entry["checks"]):
        reason = entry["error"]["message"].splitlines()[0]
        return f"| {name} | {entry['runtime']} | {entry['precision']} | {reason} | | | | | |"
    drop, parity, memory = (check(entry, key) for key in ("accuracy_drop", "parity", "memory"))
    interval = "" if drop.get("low") is None else f" [{drop['low']:.2f} to {drop['high']:.2f}]"
    cells = (
        f"{entry['artifact']['size_bytes']:,}",
        figure(drop["value"], "{:.2f} pp") + interval,
        figure(parity["value"], "{:.1f} dB"),
        figure(memory["value"] and memory["value"] / 1e6, "{:.1f} MB"),
        figure(entry["host"].get("ratio"), "{:.2f}"),
        f"{entry['conversion_seconds']:.0f} s",
    )
    return " | ".join((f"| {name}", entry["runtime"], entry["precision"], *cells)) + " |"


def rows_of(task: str) -> Iterator[str]:
    folder, _, variant = task.partition(",")[0].partition(":")
    config = HERE / "tasks" / folder / (f"{variant}.toml" if variant else "edgekit.toml")
    model = [str(KERAS)] if folder == "mlperf_tiny_resnet" else []
    with tempfile.TemporaryDirectory() as out:
        data = run(["export", *model, "-c", str(config), "--precision", "int8", "-o", out, *TASKS[task], *OPEN])
    for entry in data["formats"]:
        yield row(f"{task} ({data['data']['metric']})", entry)
    if folder == "mlperf_tiny_resnet":
        judged = run(["validate", str(REFERENCE), "--model", str(KERAS), "-c", str(config), *OPEN])
        yield row("MLPerf Tiny's own INT8 file (top1)", {**judged["formats"][0], "precision": "reference"})


def replace_rows(rows: list[str]) -> None:
    """Puts each row in the place of the one with the same task and format in the committed results, else at the end."""
    path = HERE / "results" / "int8_accuracy.md"
    lines = path.read_text().splitlines()
    for row_text in rows:
        key = row_text.split(" | ")[:2]
        known = [i for i, line in enumerate(lines) if line.split(" | ")[:2] == key]
        if known:
            lines[known[0]] = row_text
        else:
            lines.append(row_text)
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print(
        "| task (metric) | format | precision | bytes | drop [95 % interval] | SQNR | memory | x float | conversion |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for task in options.tasks:
        lines: list[str] = []
        for line in rows_of(task):
            lines.append(line)
            print(line, flush=True)
        if options.write:
            replace_rows(lines)


if __name__ == "__main__":
    main()
