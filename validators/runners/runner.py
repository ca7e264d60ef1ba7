"""Runs one artifact and writes down what came out, how long it took and how much memory it used.

    python runner.py --runtime tflite --artifact model.tflite --modes memory,outputs,latency --samples rows/
        --output outputs/ --baseline float.tflite --record record.json

Copy this file, `opened_artifact.py` and the session file of the runtime (`tflite_session.py`) to a device to measure
there: they need NumPy and the runtime, nothing else, and Python 3.9 or newer.

A session file defines PACKAGES (what to install), EXTRA (edgekit's extra with them, if any) and `Runtime(artifact,
package, threads)`, which imports the runtime and raises ImportError where it is missing. A Runtime has `name`,
`version`, `untimed` (why timings mean nothing, or "") and `open(path)`. It returns a session: `inputs`, `outputs`
(name, shape, -1 for a free size, dtype, scale, zero_point), `metadata`, `run(arrays) -> arrays`, `operators()`.
Where files of the format may hold several functions, a Runtime also has `signatures(path) -> {name: words}`, and
`open(path, signature)` takes one of them. A session whose artifact keeps states itself has `reset()` and
`read_states() -> {name: array}` too.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __name__ != "__main__":
    from edgekit.validators.runners.opened_artifact import (
        OpenArtifact,
        Row,
        RunError,
        SampleFolder,
        as_rows,
        brief,
        check_file,
        made_up_shape,
        open_sizes_text,
        shape_text,
    )
else:  # a script beside its other half, on any machine; nothing else of its folder is to be imported
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from opened_artifact import (
        OpenArtifact,
        Row,
        RunError,
        SampleFolder,
        as_rows,
        brief,
        check_file,
        made_up_shape,
        open_sizes_text,
        shape_text,
    )

    del sys.path[0]

MODES = ("memory", "outputs", "latency")
"""In this order they run: memory is only honest in a process that has loaded nothing before."""
LATENCY_ROWS, MEMORY_RUNS, PROGRESS_SECONDS, PART_SECONDS = 16, 3, 0.2, 0.005


class Progress:
    """Writes the latest phrase to a file where the parent looks, at most five times a second."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last = 0.0

    def __call__(self, phrase: str, share: float | None = None) -> None:
        """Writes the phrase and the share done, unless it wrote a moment ago."""
        if self._path is not None and time.monotonic() - self._last > PROGRESS_SECONDS:
            self._last = time.monotonic()
            write_json(self._path, {"phrase": phrase, "share": share})


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Writes all or nothing: whoever reads meanwhile sees the old text or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(data))
    partial.replace(path)


def write_outputs(artifact: OpenArtifact, samples: SampleFolder, folder: Path, progress: Progress) -> int:
    """Runs all rows of `samples` and writes the outputs as a sample folder. Returns the number of rows.

    Raises:
        RunError: the data does not fit, the artifact fails, or an output changes its shape from row to row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = artifact.columns(samples)
    files: list[Any] = []
    digest = hashlib.sha256()
    described = [*artifact.outputs, *({"name": state["output"]} for state in artifact.held)]
    whole: list[str] = []
    of_sizes: list[Row] = []
    for i in range(samples.count):
        if i in samples.starts:
            artifact.begin()
        made = artifact.real(artifact.run(artifact.prepare(samples.row(columns, i))))
        artifact.keep(made)
        made += artifact.held_values()
        whole = [spec["name"] for spec, array in zip(described, made) if array.shape[:1] != (1,)]  # noqa: B905
        if samples.sizes is not None:
            of_sizes.append(made)
            progress(f"{artifact.path.name}: row {i + 1} of {samples.count}", (i + 1) / samples.count)
            continue
        outputs = as_rows(made)
        files = files or empty_arrays(folder, samples.count, outputs)
        for k, array in enumerate(outputs):
            if array.shape[1:] != files[k].shape[1:]:
                raise RunError(
                    "ArtifactError",
                    f'Output "{described[k]["name"]}" of {artifact.path.name} has shape '
                    f"{shape_text(array.shape)} on row {i} and {shape_text((1, *files[k].shape[1:]))} before. "
                    "Outputs must have one shape: export a model whose output shapes do not depend on the data.",
                )
            files[k][i] = array[0]
            digest.update(np.ascontiguousarray(array).tobytes())
        progress(f"{artifact.path.name}: row {i + 1} of {samples.count}", (i + 1) / samples.count)
    if of_sizes:
        files = write_filled(folder, of_sizes)
        digest.update(b"".join(np.ascontiguousarray(file).tobytes() for file in files))
    for file in files:
        file.flush()
    for kept in ("items.npy", "starts.npy"):
        if (samples.folder / kept).exists():
            (folder / kept).write_bytes((samples.folder / kept).read_bytes())
    names = [spec["name"] for spec in described]
    facts = {"count": samples.count, "names": names, "items": samples.items, "sha256": digest.hexdigest()}
    if whole:
        facts["whole"] = whole
    write_json(folder / "samples.json", facts)
    return samples.count


def write_parts(artifact: OpenArtifact, feed: Path, numbers: list[int], folder: Path, progress: Progress) -> int:
    """Runs parts of a large set as they come into the folder `feed`, and takes each away. Returns the number of rows.

    The outputs of a part become a sample folder of its own: what is there is complete, whatever ends this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    for name in (f"part-{number:06}" for number in numbers):
        while not (feed / name).exists():
            time.sleep(PART_SECONDS)
        partial = folder / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        rows += write_outputs(artifact, SampleFolder(feed / name), partial, progress)
        partial.rename(folder / name)
        shutil.rmtree(feed / name)
    return rows


def write_filled(folder: Path, rows: list[Row]) -> Row:
    """Writes outputs whose sizes follow the inputs' sizes: each row in the corner of the largest, zeros behind it."""
    filled = empty_arrays(folder, len(rows), [largest_of([row[k] for row in rows]) for k in range(len(rows[0]))])
    for i, row in enumerate(rows):
        for k, array in enumerate(as_rows(row)):
            filled[k][i][tuple(map(slice, array.shape[1:]))] = array[0]
    axes = max(array.ndim for array in rows[0])
    sizes = [[[*array.shape, *[0] * (axes - array.ndim)] for array in row] for row in rows]
    if any(shapes != sizes[0] for shapes in sizes):
        np.save(folder / "sizes.npy", np.asarray(sizes, dtype=np.int64))
    return filled


def largest_of(arrays: Row) -> Any:
    """Returns an array with the largest size on each axis, as a row (1, ...)."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays)))  # noqa: B905
    return as_rows([np.empty(shape, arrays[0].dtype)])[0]


def empty_arrays(folder: Path, rows: int, outputs: Row) -> Row:
    """Returns one .npy file an output, opened for writing: `rows` rows like the ones of `outputs`."""
    form = np.lib.format
    return [
        form.open_memmap(folder / f"{k}.npy", mode="w+", dtype=array.dtype, shape=(rows, *array.shape[1:]))
        for k, array in enumerate(outputs)
    ]


def some_rows(artifact: OpenArtifact, samples: SampleFolder | None, count: int) -> list[Row]:
    """Returns up to `count` prepared rows: of `samples`, or made-up ones if no size but the batch is free."""
    if samples is not None and samples.count:
        columns = artifact.columns(samples)
        return [artifact.prepare(samples.row(columns, i)) for i in range(min(count, samples.count))]
    generator = np.random.default_rng(0)
    made: Row = []
    for spec in artifact.data_inputs:
        shape = made_up_shape(spec["shape"])
        if -1 in shape:
            raise RunError("OpenSizesError", open_sizes_text(artifact.path, spec["name"], shape))
        real = spec.get("scale") is not None or np.dtype(spec["dtype"]).kind == "f"
        # Integers are token ids and masks: 1 is a valid id in every table, and a mask of ones hides nothing.
        made.append(generator.standard_normal(shape).astype(np.float32) if real else np.ones(shape, spec["dtype"]))
    return [artifact.prepare(made)]


def measure_latency(
    artifact: OpenArtifact,
    baseline: OpenArtifact | None,
    samples: SampleFolder | None,
    options: argparse.Namespace,
    progress: Progress,
) -> dict[str, Any]:
    """Times single inferences, artifact and baseline in turn, so that the machine's load hits both alike.

    The order of a pair changes from one to the next (A B, B A, A B): who runs first pays for a cold cache.
    Stops before `--runs` once `--max-seconds` are over, but not before 10 runs.
    """
    sessions = [artifact] if baseline is None else [artifact, baseline]
    rows = [some_rows(session, samples, LATENCY_ROWS) for session in sessions]
    for i in range(options.warmup):
        for k, session in enumerate(sessions):
            begin_again(session, i % len(rows[k]))
            session.run(rows[k][i % len(rows[k])])
    times: list[list[float]] = [[] for _ in sessions]
    end = time.monotonic() + options.max_seconds
    for i in range(options.runs):
        if i >= 10 and time.monotonic() > end:
            break
        for k in sorted(range(len(sessions)), reverse=i % 2 == 1):
            session, ready = sessions[k], rows[k][i % len(rows[k])]
            begin_again(session, i % len(rows[k]))
            started = time.perf_counter_ns()
            session.run(ready)
            times[k].append((time.perf_counter_ns() - started) / 1e6)
        progress(f"{artifact.path.name}: timing {i + 1} of {options.runs}", (i + 1) / options.runs)
    return {"artifact_ms": times[0], "baseline_ms": times[1] if baseline is not None else []}


def begin_again(artifact: OpenArtifact, row: int) -> None:
    """Starts a sequence anew at the first row where the artifact keeps states itself: a cache must not run over."""
    if row == 0 and artifact.held:
        artifact.begin()


def reset_peak() -> bool:
    """Makes the kernel forget the peak so far (Linux). Returns False where that is not possible."""
    gc.collect()
    try:
        import ctypes

        # Memory that an import freed and the C library still holds would hide what the artifact takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Returns the peak resident set of this process."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found.group(1)) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def host() -> str:
    """Returns what this machine is: `AMD EPYC 7B13, 2 cores, Linux x86_64`."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"(?:model name|Model|Hardware)\s*:\s*(.+)", info.read_text()) if info.exists() else None
    cpu = found.group(1).strip() if found else platform.processor() or "unknown CPU"
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def load_runtime(session: Path, artifact: Path, package: str, threads: int) -> Any:
    """Returns the `Runtime` of a session file.

    Raises:
        RunError: no such session file, or its runtime is not installed.
    """
    spec = importlib.util.spec_from_file_location(session.stem, session) if session.exists() else None
    if spec is None or spec.loader is None:
        raise RunError("ArtifactError", f"No session file {session}: copy it there, or name it with --session FILE.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.Runtime(str(artifact), package, threads)
    except ImportError as error:
        extra, needs = getattr(module, "EXTRA", ""), module.PACKAGES
        how = f" from the checkout: pip install -e '.[{extra}]'" if extra else f": pip install {needs}"
        raise RunError(
            "MissingDependencyError",
            f"Running {artifact.name} needs {needs}, which cannot be imported: {brief(error)} Install it{how}",
        ) from error


def end_with(parent: int) -> None:
    """Ends this process once its parent is gone: a parent that was killed could not do it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(options: argparse.Namespace, record: dict[str, Any], save: Any) -> None:
    """Does what `options` ask for and fills `record`; calls `save` after each mode, in case the next one crashes."""
    progress = Progress(options.progress)
    expected = json.loads(options.expected.read_text()) if options.expected else {}
    modes = [mode for mode in MODES if mode in options.modes]
    check_file(options.artifact)
    session = options.session or Path(__file__).resolve().with_name(f"{options.runtime}_session.py")
    runtime = load_runtime(session, options.artifact, options.runtime_package, options.threads)
    record["runtime"] = {"name": runtime.name, "version": runtime.version, "untimed": runtime.untimed}
    if runtime.untimed:
        record["missing"] = dict.fromkeys(("memory", "latency"), runtime.untimed)
        modes = [mode for mode in modes if mode == "outputs"]
    samples = SampleFolder(options.samples) if options.samples and not options.parts else None
    resets = reset_peak()
    empty = peak_bytes()
    progress(f"{options.artifact.name}: loading")
    artifact = OpenArtifact(runtime, options.artifact, expected, options.signature)
    record["signatures"], record["signature"] = list(artifact.signatures), artifact.signature
    record["inputs"], record["outputs"], record["metadata"] = artifact.inputs, artifact.outputs, artifact.metadata
    record["states"] = artifact.states
    record["runtime"]["settings"] = getattr(artifact.session, "settings", "")
    record["load_ms"] = artifact.load_ms
    if "memory" in modes:
        row = some_rows(artifact, samples, 1)[0]
        for _ in range(MEMORY_RUNS):
            artifact.run(row)
        method = "peak reset after the runtime's import" if resets else "peak of the whole process"
        record["memory"] = {"empty_bytes": empty, "peak_bytes": peak_bytes(), "method": method}
    save()
    if "outputs" in modes and options.parts:
        record["rows"] = write_parts(artifact, options.samples, options.parts, options.output, progress)
        save()
    elif "outputs" in modes and samples is not None:
        record["rows"] = write_outputs(artifact, samples, options.output, progress)
        save()
    if "latency" in modes:
        baseline = OpenArtifact(runtime, options.baseline, {}) if options.baseline else None
        record["latency"] = measure_latency(artifact, baseline, samples, options, progress)
        save()
    if options.operators:
        record["operators"] = artifact.operators()


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description="Runs one artifact; writes what it measured to a JSON record.")
    parser.add_argument("--runtime", required=True, help="format of the artifact, or reference")
    parser.add_argument("--session", type=Path, help="file; RUNTIME_session.py beside this one without it")
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--modes", default="", type=lambda text: text.split(","), help=f"of {','.join(MODES)}")
    parser.add_argument("--samples", type=Path, help="sample folder with the inputs")
    parser.add_argument(
        "--parts", type=lambda text: [int(number) for number in text.split(",")], help="parts that come into --samples"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="sample folder for the outputs")
    parser.add_argument("--baseline", type=Path, help="float artifact, timed in turn with the artifact")
    parser.add_argument("--record", type=Path, help="JSON file; standard output without it")
    parser.add_argument("--expected", type=Path, help="JSON file: inputs and outputs in the float model's order")
    parser.add_argument("--progress", type=Path, help="file for the latest state")
    parser.add_argument("--runtime-package", default="", help="which import to use where there are several")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--max-seconds", type=float, default=20.0)
    parser.add_argument("--signature", default="", help="which function of a file that has several")
    parser.add_argument("--parent", type=int, help="process id of what started this: it ends once that is gone")
    parser.add_argument("--operators", action="store_true", help="tell what each operator computes with")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit code: 0, or 1 with the reason in the record and on stderr."""
    options = parse_options(arguments)
    if options.parent is not None:
        end_with(options.parent)
    record: dict[str, Any] = {"schema_version": 1, "host": host(), "python": platform.python_version()}
    record.update(numpy=np.__version__, missing={}, error=None)
    save: Any = functools.partial(write_json, options.record, record) if options.record else (lambda: None)
    try:
        run(options, record, save)
    except RunError as error:
        record["error"] = {"kind": error.kind, "message": error.message}
        sys.stderr.write(error.message + "\n")
    save()
    if not options.record:
        sys.stdout.write(json.dumps(record) + "\n")
    return 1 if record["error"] else 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks' destructors crash or hang at interpreter exit now and then; the record is already on disk.
    os._exit(exit_code)
