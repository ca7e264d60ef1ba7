"""Deep Compression's stages without training: zeros, few values, INT8, deflate, and the ratio that each adds.

    python benchmarks/compression_stages.py [--task TASK] [--format FORMAT] [--reports FOLDER] [--write]

Han et al., "Deep Compression", 2016, prune, share weights and code them by Huffman's method, with training after each
step. Here nothing is trained, and deflate (which holds Huffman's code) does what stores and package managers do. Ratios
are against the float32 file. `--write` puts the table into `benchmarks/results/compression_stages.md`. Needs
EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from compression import Row, export
from int8_accuracy import HERE, check, figure

RESULTS = HERE / "results" / "compression_stages.md"

STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "float32": ("fp32", ()),
    "half of the weights zero": ("fp32", ("sparsify",)),
    "and 6-bit codebooks": ("fp32", ("sparsify", "share_weights:bits=6")),
    "INT8": ("int8", ()),
    "half zero, INT8": ("int8", ("sparsify",)),
}
HEAD = ["| stage | file | ratio | download | ratio | SQNR | drop |", "|---|---|---|---|---|---|---|"]


def line_of(stage: str, task: str, runtime: str, reports: Path, float_bytes: int | None) -> tuple[str, int]:
    """Returns the stage's line and its file's bytes; ratios are against `float_bytes`, its own where that is None."""
    precision, techniques = STAGES[stage]
    row = Row(task, precision, techniques, (runtime,))
    entry = export(row, runtime, reports, with_techniques=bool(techniques))["formats"][0]
    size, download = (entry["artifact"][key] for key in ("size_bytes", "download_bytes"))
    whole = float_bytes or size
    cells = (
        f"{size:,}",
        f"{whole / size:.2f}",
        f"{download:,}",
        f"{whole / download:.2f}",
        figure(check(entry, "parity")["value"], "{:.1f} dB"),
        figure(check(entry, "accuracy_drop")["value"], "{:.2f} pp"),
    )
    return f"| {stage} | {' | '.join(cells)} |", size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="efficientnet_lite0")
    parser.add_argument("--format", default="onnx")
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print("\n".join(HEAD))
    lines: list[str] = []
    float_bytes = None
    with tempfile.TemporaryDirectory() as scratch:
        for stage in STAGES:
            line, size = line_of(stage, options.task, options.format, options.reports or Path(scratch), float_bytes)
            float_bytes = float_bytes or size
            lines.append(line)
            print(line, flush=True)
    if options.write:
        title = f"# Compression by stage: {options.task}, {options.format}"
        _, mark, notes = (RESULTS.read_text() if RESULTS.exists() else "").partition("\n## ")
        RESULTS.write_text("\n".join([title, "", *HEAD, *lines, ""]) + mark + notes)


if __name__ == "__main__":
    main()
