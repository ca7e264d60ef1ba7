"""What each technique is worth: accuracy before and after, size, operations, host latency ratio, time it took.

    python benchmarks/compression.py [ROW ...] [--write]

Exports each model with and without the technique, every artifact in its own runtime, and prints one table. `--write`
puts it into `benchmarks/results/compression.md`, where rows that were not run keep their last figures. Needs
EDGEKIT_SHARED.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from int8_accuracy import HERE, OPEN, check, figure, run

RESULTS = HERE / "results" / "compression.md"


@dataclass(frozen=True)
class Row:
    task: str
    precision: str
    techniques: tuple[str, ...]
    formats: str = "all"
    options: tuple[str, ...] = field(default=())


ROWS = {
    "cnn-gptq": Row("efficientnet_lite0", "int8", ("round_weights",)),
    "cnn-adaround": Row("efficientnet_lite0", "int8", ("round_weights:method=adaround",)),
    "cnn-equalize": Row("efficientnet_lite0", "int8", ("equalize",)),
    "cnn-equalize-gptq": Row("efficientnet_lite0", "int8", ("equalize", "round_weights")),
    "transformer-smooth": Row("minilm", "int8", ("smooth_activations",)),
    "transformer-smooth-gptq": Row("minilm", "int8", ("smooth_activations", "round_weights")),
    "transformer-int4": Row("minilm", "int4", ("round_weights:bits=4,group_size=32",)),
}

COLUMNS = (
    *("row", "techniques", "format", "SQNR before", "after", "drop before", "after", "bytes before", "after"),
    *("MACs", "x float before", "after", "technique"),
)
HEAD = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]


def export(row: Row, *, with_techniques: bool) -> tuple[dict[str, Any], float]:
    """Returns the report, and the seconds that the techniques took when their results were worked out."""
    config = HERE / "tasks" / row.task / "edgekit.toml"
    flags = [flag for text in row.techniques if with_techniques for flag in ("--technique", text)]
    cache = Path(os.environ.get("EDGEKIT_CACHE_DIR", Path.home() / ".cache/edgekit")) / "techniques"
    before = set(cache.glob("*"))
    with tempfile.TemporaryDirectory() as out:
        what = ["--precision", row.precision, "--format", row.formats]
        data = run(["export", "-c", str(config), *what, "-o", out, *flags, *row.options, *OPEN])
    made = [json.loads((folder / "effort.json").read_text())["seconds"] for folder in set(cache.glob("*")) - before]
    return data, sum(made)


def lines_of(name: str) -> Iterator[str]:
    row = ROWS[name]
    plain, _ = export(row, with_techniques=False)
    changed, seconds = export(row, with_techniques=True)
    macs = f"{(changed['model']['macs'] or 0) / 1e6:.0f} M"
    took = f"{seconds:.0f} s" if seconds else "cached"
    for before, after in zip(plain["formats"], changed["formats"], strict=True):
        failed = next((entry["error"]["message"] for entry in (before, after) if entry["artifact"] is None), None)
        start = f"| {name} | {' + '.join(row.techniques)} | {before['runtime']} {before['precision']} |"
        if failed is not None:
            yield f"{start} {failed.splitlines()[0]} {'| ' * (len(COLUMNS) - 3)}"
            continue
        cells = [
            *(figure(check(entry, "parity")["value"], "{:.1f} dB") for entry in (before, after)),
            *(figure(check(entry, "accuracy_drop")["value"], "{:.2f} pp") for entry in (before, after)),
            *(f"{entry['artifact']['size_bytes']:,}" for entry in (before, after)),
            macs,
            *(figure(entry["host"].get("ratio"), "{:.2f}") for entry in (before, after)),
            took,
        ]
        yield f"{start} {' | '.join(cells)} |"


def kept_lines(names: list[str]) -> list[str]:
    """Returns the last results of the rows that are not run now."""
    if not RESULTS.exists():
        return []
    lines = [line for line in RESULTS.read_text().splitlines() if line.startswith("| ") and line not in HEAD]
    return [line for line in lines if line.split("|")[1].strip() not in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print("\n".join(HEAD))
    lines: list[str] = []
    for name in options.rows:
        for line in lines_of(name):
            lines.append(line)
            print(line, flush=True)
    if options.write:
        order = list(ROWS)
        table = sorted([*kept_lines(options.rows), *lines], key=lambda line: order.index(line.split("|")[1].strip()))
        notes = RESULTS.read_text().partition("\n## ")[1:] if RESULTS.exists() else ()
        RESULTS.write_text("\n".join(["# Techniques, before and after", "", *HEAD, *table, ""]) + "".join(notes))


if __name__ == "__main__":
    main()
