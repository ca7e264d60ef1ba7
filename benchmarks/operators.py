"""Which operators of mobile models come through: about 110 small modules in four formats at fp32.

    python benchmarks/operators.py --work FOLDER [--only bicubic,mel] [--format onnx] [--again failed|all] [--write]

Each cell is captured, converted and run as edgekit does it, and its worst output is held against the module in torch
(SQNR in dB). A cell that fails or stays below 60 dB is converted by the bare tool as well. A row is stored in FOLDER as
soon as it is known, so that a stopped run goes on where it was; `--again` measures cells anew. One process a format,
started again where a tool crashes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FORMATS = ("tflite", "onnx", "executorch", "coreml")
SUFFIXES = {"tflite": "tflite", "onnx": "onnx", "executorch": "pte", "coreml": "mlpackage"}
GOAL_DB = 60.0
SECONDS_A_CELL = 180
Cell = dict[str, Any]


def ratio(expected: Any, got: Any) -> float:
    """Returns the SQNR in dB of one output; 200 where they are equal, -inf where shapes or NaNs differ."""
    left, right = np.asarray(expected, np.float64), np.asarray(got, np.float64)
    if left.shape != right.shape or not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return -math.inf
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    noise = float(((left - right) ** 2).sum())
    return 200.0 if noise == 0 else 10 * math.log10(max(float((left**2).sum()), 1e-30) / noise)


def worst(expected: list[Any], got: list[Any]) -> float:
    if len(expected) != len(got):
        return -math.inf
    return min(ratio(left, right) for left, right in zip(expected, got, strict=True))


def expectation(name: str) -> tuple[tuple[Any, ...], list[Any]]:
    """Returns example inputs and what the module gives for them in float32."""
    import torch
    from operator_modules import REFERENCES, build, example

    with torch.no_grad():
        inputs = example(name)
        value = REFERENCES.get(name, build(name).float())(*inputs)
    return inputs, [item.numpy() for item in (value if isinstance(value, (tuple, list)) else (value,))]


def own(name: str, runtime: str, folder: Path) -> float:
    """Captures, converts and runs with edgekit; returns dB."""
    from edgekit.converters.base import ConversionRequest, converter
    from edgekit.recipe import Recipe
    from edgekit.sources.base import CaptureRequest
    from edgekit.sources.capture import run as capture

    def reported(phrase: str, share: float | None) -> None:
        del phrase, share

    inputs, expected = expectation(name)
    (folder / "scratch").mkdir()
    model = capture(
        CaptureRequest(
            source=f"operator_modules.py:build(name='{name}')",
            base=HERE,
            output=folder / "captured",
            name=name,
            example_inputs=f"operator_modules.py:example(name='{name}')",
        ),
        reported,
    )
    path = folder / f"net.{SUFFIXES[runtime]}"
    request = ConversionRequest(
        model=model, recipe=Recipe(default="fp32"), calibration=None, scratch=folder / "scratch"
    )
    made = converter(runtime).run(request, path, reported)
    arrays = [value.numpy() for value in inputs]
    return worst(
        expected, run_file(runtime, path, arrays, [s.name for s in made.inputs], [s.name for s in made.outputs])
    )


def run_file(runtime: str, path: Path, arrays: list[Any], names: list[str], outputs: list[str]) -> list[Any]:
    """Runs an artifact; inputs and outputs go by name, or by place where the file has other names."""
    import importlib

    session = importlib.import_module(f"edgekit.validators.runners.{runtime}_session")
    opened = session.Runtime(str(path), "", 1).open(str(path))
    given = dict(zip(names, arrays, strict=True))
    fed = [given.get(spec["name"], arrays[i]).astype(spec["dtype"]) for i, spec in enumerate(opened.inputs)]
    results = opened.run(fed)
    found = {spec["name"]: result for spec, result in zip(opened.outputs, results, strict=True)}
    return [found[name] for name in outputs] if set(outputs) == set(found) else results


def bare(name: str, runtime: str, folder: Path) -> float:
    """Converts with the format's own tool as its documentation does it; returns dB."""
    import torch
    from operator_modules import build

    inputs, expected = expectation(name)
    arrays = [value.numpy() for value in inputs]
    module = build(name).float()
    path = folder / f"bare.{SUFFIXES[runtime]}"
    if runtime == "tflite":
        import litert_torch

        edge: Any = litert_torch.convert(module, inputs)
        got = edge(*inputs)
        return worst(expected, [np.asarray(item) for item in (got if isinstance(got, (tuple, list)) else (got,))])
    if runtime == "onnx":
        torch.onnx.export(module, inputs, path, dynamo=True, verbose=False)
    elif runtime == "executorch":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(module, inputs)
        path.write_bytes(
            to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer
        )
    else:
        from edgekit.converters.to_coreml_program import import_coremltools

        ct = import_coremltools()
        program = torch.export.export(module, inputs).run_decompositions({})
        model = ct.convert(
            program,
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(path))
    return worst(expected, run_file(runtime, path, arrays, [""] * len(arrays), []))


def attempt(measure: Callable[[str, str, Path], float], name: str, runtime: str) -> tuple[float | None, str]:
    """Returns dB, or None and why there is no figure."""
    from edgekit.errors import EdgekitError

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return measure(name, runtime, Path(scratch)), ""
        except EdgekitError as error:
            return None, error.message
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            first = (str(error).strip().splitlines() or [""])[0]
            return None, f"RAW {type(error).__name__}: {first[:300]} ({Path(place.filename).name}:{place.lineno})"


def work(runtime: str, names: list[str]) -> None:
    """Measures cells of one format and prints each as a line of JSON."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what tools print goes elsewhere
    warnings.simplefilter("ignore")
    for name in names:
        print(json.dumps({"begun": name}), file=stream, flush=True)
        started = time.monotonic()
        decibels, reason = attempt(own, name, runtime)
        row: Cell = {"name": name, "format": runtime, "db": decibels, "reason": reason}
        row["seconds"] = round(time.monotonic() - started, 1)
        if decibels is None or decibels < GOAL_DB:
            row["bare_db"], row["bare_reason"] = attempt(bare, name, runtime)
        print(json.dumps(row), file=stream, flush=True)


def measured(runtime: str, names: list[str]) -> Iterator[Cell]:
    """Yields a cell for each name from worker processes; a crash or a hang becomes a cell too."""
    left = list(names)
    while left:
        command = [sys.executable, __file__, "--worker", runtime, "--only", ",".join(left)]
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            assert process.stdout is not None
            begun = ""
            for line in process.stdout:
                row = json.loads(line)
                if "begun" in row:
                    begun = row["begun"]
                    continue
                left.remove(row["name"])
                begun = ""
                yield row
            process.wait()
        if left:
            begun = begun or left[0]
            left.remove(begun)
            yield {"name": begun, "format": runtime, "db": None, "reason": f"CRASH, exit status {process.returncode}"}


def load(path: Path) -> dict[tuple[str, str], Cell]:
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["name"], row["format"]): row for row in rows}


def is_good(row: Cell | None) -> bool:
    return row is not None and row["db"] is not None and row["db"] >= GOAL_DB


def shown(decibels: float | None) -> str:
    if decibels is None:
        return "not made"
    return "equal" if decibels >= 200 else f"{decibels:.0f}"


def table(cells: dict[tuple[str, str], Cell], names: list[str]) -> list[str]:
    lines = ["| module | " + " | ".join(FORMATS) + " |", "|---|" + "---|" * len(FORMATS)]
    for name in names:
        words = []
        for runtime in FORMATS:
            row = cells.get((name, runtime))
            word = "" if row is None else shown(row["db"])
            if row is not None and not is_good(row):
                word = f"**{word}** (bare {shown(row.get('bare_db'))})"
            words.append(word)
        lines.append(f"| {name} | " + " | ".join(words) + " |")
    counts = [sum(is_good(cells.get((name, runtime))) for name in names) for runtime in FORMATS]
    lines.append(
        f"| **made and ≥ {GOAL_DB:.0f} dB, of {len(names)}** | " + " | ".join(f"**{c}**" for c in counts) + " |"
    )
    failing = [row for row in cells.values() if row["name"] in names and not is_good(row)]
    if failing:
        lines += ["", "What edgekit says of the cells that are not made:", ""]
        lines += [f"- {row['name']}, {row['format']}: {row['reason'] or shown(row['db']) + ' dB'}" for row in failing]
    return lines


def main() -> None:
    sys.path.insert(0, str(HERE))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder that keeps the cells")
    parser.add_argument("--only", default="", help="names of modules, with commas")
    parser.add_argument("--format", default=",".join(FORMATS), help="formats, with commas")
    parser.add_argument("--again", choices=("failed", "all"), help="measure these cells anew")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/operators.md")
    options = parser.parse_args()
    from operator_modules import MODULES

    names = options.only.split(",") if options.only else list(MODULES)
    if options.worker:
        work(options.worker, names)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "cells.jsonl"
    for runtime in options.format.split(","):
        cells = load(path)
        old = {n for n in names if (n, runtime) in cells}
        kept = {n for n in old if options.again is None or (options.again == "failed" and is_good(cells[n, runtime]))}
        for row in measured(runtime, [name for name in names if name not in kept]):
            with path.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{row['name']:24} {runtime:10} {shown(row['db']):>8} {row['reason'][:200]}", flush=True)
    lines = table(load(path), list(MODULES))
    print("\n".join(lines))
    if options.write:
        title = "# Operators\n\nOutput of `python benchmarks/operators.py --work FOLDER`: SQNR in dB of fp32 artifacts "
        title += "against the module in torch.\n\n"
        (HERE / "results" / "operators.md").write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
