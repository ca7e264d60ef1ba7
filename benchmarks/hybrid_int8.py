"""INT8 of networks that mix convolutions and attention, by operator against before: parity, integer coverage, time.

    python benchmarks/hybrid_int8.py [--only MODEL ...] [--precision NAME ...] [--again] [--write]

Exports each network of `benchmarks/tasks/hybrids` to each format with `int8`, which decides by operator, and with
`int8-dynamic`, which is what `int8` was for such networks before, every artifact in its own runtime. One row is printed
as soon as it is known; `--write` puts it into `benchmarks/results/hybrid_int8.md` at once. Rows that are there are
skipped, so an interrupted run goes on where it stopped; `--again` measures them anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
TASK: Final = HERE / "tasks" / "hybrids" / "task.py"
RUNNER: Final = HERE.parent / "validators" / "runners" / "runner.py"
RESULTS: Final = HERE / "results" / "hybrid_int8.md"
MODELS: Final = ("mobilevit", "wav2vec2", "segmentation")
FORMATS: Final = ("onnx", "tflite", "executorch", "coreml")
PRECISIONS: Final = ("int8", "int8-dynamic")
EVERY: Final = tuple(itertools.product(MODELS, FORMATS, PRECISIONS))

# The budgets are opened wide: what remains are the checks of soundness, and that the file is what was requested.
OPEN: Final = ("--max-size", "100 MB", "--max-memory", "2 GB", "--max-drop", "100 pp", "--max-latency", "10 s")

HEAD: Final = """# INT8 of networks that mix convolutions and attention

Output of `python benchmarks/hybrid_int8.py --write`: random weights and random data, so parity is what counts, and no
accuracy. `int8` decides by operator; `int8-dynamic` is what `int8` was for such networks before (in Core ML the same
file was called `int8-weights`). "in integers" is the share of all multiply-accumulates that run in integer arithmetic;
"coverage" is that share of what the plan gave to integers, which the gate judges. "x float" is this host's median time
over the float artifact's, interleaved, other jobs on the machine meanwhile: it is no device's ratio. Core ML packages
are run by the evaluator, whose time means nothing.

| network | format | requested | recipe | parity | in integers | coverage | x float | bytes | verdict |
|---|---|---|---|---|---|---|---|---|---|"""


def export(model: str, runtime: str, precision: str) -> dict[str, Any]:
    """Returns the entry of one format in what `edgekit export --json` printed, or its error."""
    data = [f"{TASK}:{model}_calibration", "--evaluation", f"{TASK}:{model}_evaluation", "--metric", "cosine"]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "edgekit", "export", f"{TASK}:{model}", "--device", "pi4", "--json"]
        command += ["--example-inputs", f"{TASK}:{model}_inputs", "--calibration", *data]
        command += ["--format", runtime, "--precision", precision, "-o", f"{out}/made", *OPEN]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        if "formats" not in found:
            return {"error": found["error"], "checks": [], "artifact": None}
        entry: dict[str, Any] = found["formats"][0]
        if entry["artifact"] is not None:
            entry["operators"] = operators_of(runtime, Path(out, "made", entry["artifact"]["path"]))
    return entry


def operators_of(runtime: str, artifact: Path) -> list[dict[str, Any]]:
    """Returns what each operator of an artifact computes with, as its runtime tells it."""
    command = [sys.executable, str(RUNNER), "--runtime", runtime, "--artifact", str(artifact), "--modes", "memory"]
    done = subprocess.run([*command, "--operators"], stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["operators"]
    return found


def row(start: str, runtime: str, entry: dict[str, Any]) -> str:
    """Returns the line of one export that begins with `start`."""
    if entry["artifact"] is None:
        return f"{start} {entry['error']['message'].splitlines()[0]} | | | | | | not made |"
    checks = {item["name"]: item for item in entry["checks"]}
    failed = [name for name, item in checks.items() if item["verdict"] not in ("pass", "not_run")]
    cells = (
        entry["precision"],
        _figure(checks.get("parity"), "{:.1f} dB"),
        "-" if (share := integer_share(entry["operators"])) is None else f"{share:.1f} %",
        _figure(checks.get("integer_coverage"), "{:.1f} %"),
        "-" if runtime == "coreml" or not entry["host"].get("ratio") else f"{entry['host']['ratio']:.2f}",
        f"{entry['artifact']['size_bytes']:,}",
        "pass" if not failed else f"fails {', '.join(failed)}",
    )
    return f"{start} {' | '.join(cells)} |"


def integer_share(operators: list[dict[str, Any]]) -> float | None:
    """Returns the share of the multiply-accumulates that run in integers, in percent; None where nobody knows."""
    work = [(item["macs"], item["arithmetic"] in ("integer", "dynamic")) for item in operators]
    total = sum(macs or 0 for macs, _ in work)
    return 100 * sum(macs or 0 for macs, integer in work if integer) / total if total else None


def _figure(check: dict[str, Any] | None, text: str) -> str:
    return "-" if check is None or check["value"] is None else text.format(check["value"])


def write(start: str, line: str) -> None:
    """Puts a row in the place of the one that begins as it does in the committed results, else at the end."""
    rows = {" | ".join(row.split(" | ")[:3]): row for row in _written()}
    rows[" | ".join(start.removesuffix(" |").split(" | "))] = line
    order = {f"| {model} | {runtime} | {precision}": None for model, runtime, precision in EVERY}
    RESULTS.write_text("\n".join([HEAD, *(rows[key] for key in order if key in rows)]) + "\n")


def _written() -> list[str]:
    """Returns the rows of the committed results."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [line for line in lines if line.startswith(tuple(f"| {model} |" for model in MODELS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=MODELS, choices=MODELS, metavar="MODEL")
    parser.add_argument("--format", nargs="*", default=FORMATS, choices=FORMATS)
    parser.add_argument("--precision", nargs="*", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    for model, runtime, precision in itertools.product(options.only, options.format, options.precision):
        start = f"| {model} | {runtime} | {precision} |"
        known = [line for line in _written() if line.startswith(start)]
        line = known[0] if known and not options.again else row(start, runtime, export(model, runtime, precision))
        print(line, flush=True)
        if options.write:
            write(start, line)


if __name__ == "__main__":
    main()
