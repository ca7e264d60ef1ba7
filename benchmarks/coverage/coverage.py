"""Which architectures come through: four formats, fp32 and int8, beside the formats' own tools.

    python benchmarks/coverage/coverage.py --work FOLDER [--only NAME,...] [--format onnx] [--precision int8]
                                           [--again failed|all] [--bare failed|all|none] [--write]

Each cell is an architecture in a format at a precision. It is captured once, converted and run, and its worst output is
held against the module in torch (SQNR in dB). The bare tools make the cells that edgekit fails (`--bare all`: every
cell). A row is stored in FOLDER as soon as it is known, so a stopped run goes on where it was, over days if need be;
`--again` measures cells anew. Cells are made in worker processes that end with a crash or past the limit of time.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE.parent / "results" / "coverage.md"
SECONDS_A_CELL: Final = 900
BATCH: Final = 10
"""Cells after which a worker begins anew: tools leak."""

Row = dict[str, Any]
Key = tuple[str, str, str, str]


def work_on(tool: str, runtime: str, precision: str, names: list[str], folder: Path) -> None:
    """Makes cells of one tool, format and precision, and prints each as a line of JSON."""
    import bare
    import own
    import stubs  # noqa: F401  before timm and ultralytics

    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what tools print goes elsewhere
    warnings.simplefilter("ignore")
    measure = own.measure if tool == "edgekit" else bare.measure
    for name in names:
        print(json.dumps({"begun": name}), file=stream, flush=True)
        started = time.monotonic()
        row: Row = {"name": name, "format": runtime, "precision": precision, "tool": tool, "db": None, "reason": ""}
        row |= attempt(lambda name=name: _in_folder(measure, name, runtime, precision, folder))  # type: ignore[misc]
        row["seconds"] = round(time.monotonic() - started, 1)
        print(json.dumps(row), file=stream, flush=True)
    os._exit(0)  # frameworks' destructors crash or hang now and then


def _in_folder(measure: Callable[..., Row], name: str, runtime: str, precision: str, work: Path) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        return measure(name, runtime, precision, work, Path(scratch))


def attempt(make: Callable[[], Row]) -> Row:
    """Returns the figures, or why there are none: edgekit's own sentence, or RAW for an error that it did not name."""
    from edgekit.errors import EdgekitError

    try:
        return make()
    except EdgekitError as error:
        return {"reason": error.message.replace(f"{HERE}/", "")}
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        return {"reason": f"RAW {type(error).__name__}: {first[:300]} ({Path(place.filename).name}:{place.lineno})"}


def measured(tool: str, runtime: str, precision: str, names: list[str], folder: Path) -> Iterator[Row]:
    """Yields a row for each name from worker processes; a crash or a hang becomes a row too."""
    left = list(names)
    while left:
        batch = left[:BATCH]
        command = [sys.executable, __file__, "--worker", f"{tool},{runtime},{precision}", "--only", ",".join(batch)]
        begun = ""
        with subprocess.Popen(
            [*command, "--work", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            for line in _lines(process):
                row = json.loads(line)
                begun = row.get("begun", "")
                if not begun:
                    left.remove(row["name"])
                    yield row
            ended = process.poll()
            process.kill()
        if begun or ended not in (0, None):
            begun = begun or batch[0]
            left.remove(begun)
            why = f"no result after {SECONDS_A_CELL} s" if ended is None else f"CRASH, exit status {ended}"
            yield {"name": begun, "format": runtime, "precision": precision, "tool": tool, "db": None, "reason": why}


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yields what a process prints, until it ends or is silent for too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(SECONDS_A_CELL):
            line = process.stdout.readline()
            if not line:
                process.wait()
                return
            yield line


def load(path: Path) -> dict[Key, Row]:
    """Returns the latest row of each cell."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["name"], row["format"], row["precision"], row["tool"]): row for row in rows}


def in_turns(names: list[str]) -> list[str]:
    """Returns the names one of each group after the other, so that what is done after a while is a cross section."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    placed = [(i / len(members), name) for members in groups.values() for i, name in enumerate(members)]
    return [name for _, name in sorted(placed)]


def run(options: argparse.Namespace, names: list[str], path: Path) -> None:
    """Makes the cells that are missing or asked for again, a batch of architectures at a time."""
    from table import is_green

    for precision in options.precision.split(","):
        for first in range(0, len(names), BATCH):
            for runtime in options.format.split(","):
                for tool in ("edgekit", "bare"):
                    cells = load(path)
                    wanted = [
                        name
                        for name in names[first : first + BATCH]
                        if _is_wanted(cells, (name, runtime, precision, tool), options, is_green)
                    ]
                    for row in measured(tool, runtime, precision, wanted, options.work):
                        with path.open("a") as stream:
                            stream.write(json.dumps(row | {"at": round(time.time())}) + "\n")
                        figure = "-" if row["db"] is None else f"{row['db']:.1f}"
                        words = (row["name"], runtime, precision, tool, figure, row.get("seconds"), row["reason"][:300])
                        print(*words, flush=True)


def _is_wanted(cells: dict[Key, Row], key: Key, options: argparse.Namespace, is_green: Any) -> bool:
    name, runtime, precision, tool = key
    own = cells.get((name, runtime, precision, "edgekit"))
    if tool == "bare":
        old = cells.get(key)
        again = options.again == "all" and (old is None or old.get("at", 0) < options.started)
        failed = own is not None and not is_green(own, None)
        return (old is None or again) and (options.bare == "all" or (options.bare == "failed" and failed))
    if own is None or (options.again is not None and own.get("at", 0) < options.started and options.again == "all"):
        return True
    green = is_green(own, cells.get((name, runtime, precision, "bare")))
    return options.again == "failed" and not green


def main() -> None:
    sys.path.insert(0, str(HERE))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the captures")
    parser.add_argument("--rows", type=Path, default=RESULTS.with_suffix(".jsonl"), help="file that keeps the rows")
    parser.add_argument("--only", default="", help="names or beginnings of names, with commas")
    parser.add_argument("--format", default="tflite,onnx,executorch,coreml", help="formats, with commas")
    parser.add_argument("--precision", default="fp32,int8", help="precisions, with commas")
    parser.add_argument("--again", choices=("failed", "all"), help="measure these cells anew, captured anew")
    parser.add_argument("--bare", choices=("failed", "all", "none"), default="failed", help="cells of the bare tools")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/coverage.md, measure nothing")
    options = parser.parse_args()
    if options.worker:
        work_on(*options.worker.split(","), options.only.split(","), options.work)
    path = options.rows
    import stubs  # noqa: F401
    import table
    from zoo import entries

    chosen = tuple(options.only.split(",")) if options.only else ("",)
    names = in_turns([name for name in entries() if name.startswith(chosen)])
    if options.write:
        RESULTS.write_text(table.text(load(path), list(entries())))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    options.started = time.time()
    if options.again:
        cells = load(path)
        for name in names:
            own = [row for key, row in cells.items() if key[0] == name and key[3] == "edgekit"]
            if options.again == "all" or not all(table.is_green(row, cells.get(_bare(row))) for row in own):
                shutil.rmtree(options.work / "captures" / name, ignore_errors=True)
    run(options, names, path)


def _bare(row: Row) -> Key:
    return row["name"], row["format"], row["precision"], "bare"


if __name__ == "__main__":
    main()
