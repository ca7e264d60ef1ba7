"""What each technique is worth: accuracy before and after, size, operations, host latency ratio, time it took.

    python benchmarks/compression.py [ROW ...] [--formats FORMATS] [--reports FOLDER] [--write]

Exports each model with and without the techniques, every artifact in its own runtime, and prints one table. `--write`
puts it into `benchmarks/results/compression.md`, where what was not run keeps its last figures. With `--reports` every
export's report is kept in a folder and used again, so that a run can be taken up where it stopped. Needs
EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from int8_accuracy import HERE, OPEN, check, figure, run

RESULTS = HERE / "results" / "compression.md"


@dataclass(frozen=True)
class Row:
    task: str
    precision: str
    techniques: tuple[str, ...]
    formats: tuple[str, ...] = ("tflite", "onnx", "executorch", "coreml")
    device: str = "pi4"
    options: tuple[str, ...] = ()
    """Further flags of the export "after"."""

    @property
    def change(self) -> str:
        return " ".join([" + ".join(self.techniques), *self.options]).strip()


ROWS = {
    "cnn-gptq": Row("efficientnet_lite0", "int8", ("round_weights",)),
    "cnn-adaround": Row("efficientnet_lite0", "int8", ("round_weights:method=adaround",)),
    "cnn-equalize": Row("efficientnet_lite0", "int8", ("equalize",)),
    "cnn-equalize-gptq": Row("efficientnet_lite0", "int8", ("equalize", "round_weights")),
    "transformer-smooth": Row("minilm", "int8", ("smooth_activations",)),
    "transformer-smooth-gptq": Row("minilm", "int8", ("smooth_activations", "round_weights")),
    "transformer-int4": Row("minilm", "int4", ("round_weights:bits=4,group_size=32",)),
    "transformer-int4-awq": Row(
        "minilm", "int4", ("smooth_activations:method=awq", "round_weights:bits=4,group_size=32")
    ),
    "transformer-int4-near": Row("minilm", "int4", (), options=("--effort", "default")),
    "transformer-int4-14dB": Row("minilm", "int4", (), options=("--effort", "default", "--min-parity", "14 dB")),
    "transformer-palette": Row("minilm", "int4", ("share_weights",), ("coreml",)),
    "cnn-sparse": Row("efficientnet_lite0", "int8", ("sparsify",)),
    "cnn-sparse-magnitude": Row("efficientnet_lite0", "int8", ("sparsify:method=layer,refits=no",), ("onnx",)),
    "cnn-sparse-global": Row("efficientnet_lite0", "int8", ("sparsify:method=global",), ("onnx",)),
    "cnn-sparse-random": Row("efficientnet_lite0", "int8", ("sparsify:method=random",), ("onnx",)),
    "cnn-sparse-2:4": Row("efficientnet_lite0", "int8", ("sparsify:block=4",), ("onnx",), "jetson-orin-nano"),
    "cnn-sparse-float": Row("efficientnet_lite0", "fp16", ("sparsify",), ("coreml",)),
    "transformer-sparse": Row("minilm", "int8", ("sparsify",), ("onnx", "coreml")),
    "cnn-factorize": Row("efficientnet_lite0", "int8", ("factorize:keep=0.85",), ("onnx", "tflite")),
    "transformer-factorize": Row("minilm", "int8", ("factorize:keep=0.8",), ("onnx", "tflite")),
    "transformer-drop": Row("minilm", "int8", ("drop_layers",), ("onnx", "tflite")),
    "transformer-heads": Row("minilm", "int8", ("prune_heads",), ("onnx", "tflite")),
}

COLUMNS = (
    *("row", "techniques", "format", "SQNR before", "after", "drop before", "after", "bytes before", "after"),
    *("download before", "after", "MACs before", "after", "x float before", "after", "technique"),
)
HEAD = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]


def export(row: Row, runtime: str, reports: Path, *, with_techniques: bool) -> dict[str, Any]:
    """Returns the report of one export."""
    techniques, options = (row.techniques, row.options) if with_techniques else ((), ())
    device = () if row.device == "pi4" else (row.device,)
    name = "-".join(
        [row.task, row.precision, runtime, *device, *(text.replace(":", "-") for text in (*techniques, *options))]
    )
    kept = reports / f"{name}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    config = HERE / "tasks" / row.task / "edgekit.toml"
    with tempfile.TemporaryDirectory() as out:
        what = ["--precision", row.precision, "--format", runtime]
        flags = [flag for text in techniques for flag in ("--technique", text)]
        data = run(["export", "-c", str(config), *what, "-o", out, *flags, *OPEN, *options], row.device)
    reports.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(data))
    return data


def work_of(report: dict[str, Any]) -> tuple[float | None, float | None]:
    """Returns the seconds that all techniques took, the first time, and the operations of what they have left."""
    stages = [stage for table in report["stages"] for stage in table["stages"] if stage["kind"] == "technique"]
    return (sum(stage["seconds"] for stage in stages), stages[-1]["macs"]) if stages else (None, None)


def line_of(name: str, runtime: str, reports: Path) -> str:
    row = ROWS[name]
    plain, changed = (export(row, runtime, reports, with_techniques=flag) for flag in (False, True))
    before, after = plain["formats"][0], changed["formats"][0]
    failed = next((entry["error"]["message"] for entry in (before, after) if entry["artifact"] is None), None)
    seconds, macs = work_of(changed)
    start = f"| {name} | {row.change} | {runtime} {before['precision']} |"
    if failed is not None:
        return f"{start} {failed.splitlines()[0]} {'| ' * (len(COLUMNS) - 3)}"
    cells = [
        *(figure(check(entry, "parity")["value"], "{:.1f} dB") for entry in (before, after)),
        *(figure(check(entry, "accuracy_drop")["value"], "{:.2f} pp") for entry in (before, after)),
        *(f"{entry['artifact']['size_bytes']:,}" for entry in (before, after)),
        *(f"{entry['artifact']['download_bytes']:,}" for entry in (before, after)),
        f"{plain['model']['macs'] / 1e6:.0f} M",
        figure(macs and macs / 1e6, "{:.0f} M"),
        *(figure(entry["host"].get("ratio"), "{:.2f}") for entry in (before, after)),
        figure(seconds, "{:.0f} s"),
    ]
    return f"{start} {' | '.join(cells)} |"


def place_of(line: str) -> tuple[int, int]:
    """Returns where a line of the table belongs: rows in the order of ROWS, formats in that of the row."""
    name, runtime = line.split("|")[1].strip(), line.split("|")[3].split(maxsplit=1)[0]
    return list(ROWS).index(name), ROWS[name].formats.index(runtime)


def write_table(lines: list[str]) -> None:
    """Replaces these lines in the results; other lines and the notes under the table stay."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    table, mark, notes = text.partition("\n## ")
    old = [line for line in table.splitlines() if line.startswith("| ") and line not in HEAD]
    merged = {place_of(line): line for line in (*old, *lines)}
    rows = [merged[place] for place in sorted(merged)]
    RESULTS.write_text("\n".join(["# Techniques, before and after", "", *HEAD, *rows, ""]) + mark + notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--formats", default="tflite,onnx,executorch,coreml")
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print("\n".join(HEAD))
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        reports = options.reports or Path(scratch)
        for name in options.rows:
            for runtime in (item for item in ROWS[name].formats if item in options.formats.split(",")):
                lines.append(line_of(name, runtime, reports))
                print(lines[-1], flush=True)
    if options.write:
        write_table(lines)


if __name__ == "__main__":
    main()
