"""Runs one artifact and writes down what came out, how long it took and how much memory it used.

    python runner.py --runtime tflite --artifact model.tflite --modes memory,outputs,latency --samples rows/
        --output outputs/ --baseline float.tflite --record record.json

Copy this file and the session file of the runtime (`tflite_session.py`) to a device to measure there: both need NumPy
and the runtime, nothing else, and Python 3.9 or newer.

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
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Spec = dict[str, Any]
Row = list["np.ndarray[Any, np.dtype[Any]]"]

MODES = ("memory", "outputs", "latency")
"""In this order they run: memory is only honest in a process that has loaded nothing before."""
IO_KEY = "edgekit.io"
"""Metadata entry with the inputs and outputs as JSON, written by edgekit's converters."""

SINGLE_NUMBERS = (((1,), ()), ((), (1,)))
"""Shapes of an artifact's input and of the data: some formats have no tensor without axes."""
LATENCY_ROWS, MEMORY_RUNS, PROGRESS_SECONDS = 16, 3, 0.2


class RunError(Exception):
    """The run cannot go on: `kind` names a class of `edgekit.errors`, `message` is for a person."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class SampleFolder:
    """Reads a sample folder: `samples.json` and one .npy file a tensor, one inference a row (see `edgekit.samples`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "samples.json").exists():
            raise RunError("DataError", f"{folder}: no samples.json there; expected a sample folder of edgekit's.")
        facts = json.loads((folder / "samples.json").read_text())
        self.names: list[str] = facts["names"]
        self.count: int = facts["count"]
        self.items: int = facts["items"]
        self.arrays = [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(len(self.names))]
        starts = folder / "starts.npy"
        self.starts: set[int] = set(np.load(starts).tolist()) if starts.exists() else {0}
        whole = facts.get("whole", [])  # tensors without a batch of one in front
        self.shapes = [
            array.shape[1:] if name in whole else (1, *array.shape[1:])
            for name, array in zip(self.names, self.arrays)  # noqa: B905  Python 3.9 has no strict
        ]

    def row(self, columns: Sequence[int], i: int) -> Row:
        """Returns row `i` of these tensors, in the shapes of a call."""
        return [np.array(self.arrays[column][i]).reshape(self.shapes[column]) for column in columns]


class OpenArtifact:
    """An artifact in its runtime, with inputs and outputs in the float model's order and in its data's terms.

    Args:
        runtime: The session file's `Runtime`.
        path: The artifact.
        expected: {"inputs": [...], "outputs": [...]}: names in the float model's order, and scales and zero points that
            the runtime cannot tell; empty where nobody knows.
        signature: Which function of the file to run, where it has several.
    """

    def __init__(self, runtime: Any, path: Path, expected: dict[str, list[Spec]], signature: str = "") -> None:
        self.path = path
        self.runtime = runtime
        check_file(path)
        started = time.perf_counter_ns()
        try:
            self.signatures: dict[str, str] = runtime.signatures(str(path)) if hasattr(runtime, "signatures") else {}
            self.signature = chosen_signature(path, self.signatures, signature)
            self.session = runtime.open(str(path), self.signature) if self.signature else runtime.open(str(path))
        except RunError:
            raise
        except Exception as error:
            size = f"{path.stat().st_size} bytes" if path.is_file() else "a folder"
            raise foreign(
                error,
                f"{path.name} ({size}) cannot be loaded by {title(runtime)}: {brief(error)} "
                "The file is cut off, damaged, or made for another runtime or version: copy or export it again.",
            ) from error
        self.load_ms = (time.perf_counter_ns() - started) / 1e6
        self.metadata: dict[str, str] = dict(self.session.metadata)
        expected = expected or described_in(self.metadata)
        self._input_order, self.inputs = ordered(self.session.inputs, expected.get("inputs", []))
        self._output_order, self.outputs = ordered(self.session.outputs, expected.get("outputs", []))
        self._states = CarriedStates(expected.get("states") or states_in(self.metadata), self.inputs, self.outputs)
        self.held: list[Spec] = [state for state in self._states.described if state.get("held")]
        self.begin()

    @property
    def states(self) -> list[Spec]:
        """What goes from one call to the next, as the artifact describes it."""
        return self._states.described

    @property
    def data_inputs(self) -> list[Spec]:
        """The inputs that data feeds: all but the states'."""
        return [spec for i, spec in enumerate(self.inputs) if i not in self._states.places]

    def begin(self) -> None:
        """Gives the states the values that they have before the first call."""
        self._states.begin()
        if self.held:
            self.session.reset()

    def keep(self, outputs: Row) -> None:
        """Takes the states' next values from what `real` returned for a call."""
        self._states.keep(outputs)

    def held_values(self) -> Row:
        """Returns the states that the artifact keeps itself, read back from it."""
        found = self.session.read_states() if self.held else {}
        return [np.asarray(found[state["input"]]) for state in self.held]

    def columns(self, samples: SampleFolder) -> list[int]:
        """Returns for each of the artifact's `data_inputs` the column of `samples` that feeds it, once they fit.

        Raises:
            RunError: another number of inputs, or shapes or dtypes that do not fit.
        """
        names = [spec["name"] for spec in self.data_inputs]
        given = [name for name in samples.names if name not in self._states.names]
        if len(given) != len(names):
            raise RunError(
                "DataError",
                f"{self.path.name} takes {count_of(names, 'input')}; the data has {count_of(given, 'tensor')}. "
                "Give one tensor for each input.",
            )
        by_name = sorted(names) == sorted(given)
        columns = [samples.names.index(name) for name in (names if by_name else given)]
        for i, column in enumerate(columns):
            check_fit(self.path, self.data_inputs[i], samples.shapes[column], samples.arrays[column].dtype)
        return columns

    def prepare(self, row: Row) -> Row:
        """Returns the arrays of one call, the states among them, as the runtime takes them: its types, in its order."""
        ready = [stored(self.path, self.inputs[i], array) for i, array in enumerate(self._states.filled(row))]
        return [ready[i] for i in np.argsort(self._input_order)]

    def run(self, ready: Row) -> Row:
        """Returns the raw outputs, in the runtime's order, of arrays that `prepare` returned."""
        try:
            return list(self.session.run(ready))
        except Exception as error:
            raise foreign(
                error,
                f"{self.path.name} was loaded by {title(self.runtime)} and failed when it ran: {brief(error)} "
                "Export it again; if it still fails, this runtime lacks what the artifact needs.",
            ) from error

    def real(self, raw: Row) -> Row:
        """Returns outputs in the float model's order, integers with a scale turned into float32."""
        return [dequantized(self.outputs[i], np.asarray(raw[k])) for i, k in enumerate(self._output_order)]


class CarriedStates:
    """What goes from the outputs of one call to the inputs of the next.

    Args:
        described: As artifacts describe their states (see `edgekit.model.ArtifactState`).
        inputs: The artifact's, in the float model's order.
        outputs: The same.
    """

    def __init__(self, described: list[Spec], inputs: list[Spec], outputs: list[Spec]) -> None:
        self.described = described
        self.names = {state[key] for state in described for key in ("name", "input")}
        takes, gives = [spec["name"] for spec in inputs], [spec["name"] for spec in outputs]
        carried = [state for state in described if not state.get("held")]
        self._ways = [
            (takes.index(state["input"]), gives.index(state["output"]), state)
            for state in carried
            if state["input"] in takes and state["output"] in gives
        ]
        self._inputs = inputs
        self.places = {place for place, _, _ in self._ways}
        self._values: dict[int, Any] = {}

    def begin(self) -> None:
        """Takes the values before the first call."""
        for place, _, state in self._ways:
            whole = np.asarray(state["initial"], dtype=state["dtype"])
            shape = state["shape"]
            self._values[place] = np.full(shape, whole[0]) if len(whole) == 1 else whole.reshape(shape)

    def keep(self, outputs: Row) -> None:
        """Takes the next values from the outputs of a call."""
        for place, source, state in self._ways:
            self._values[place] = np.array(outputs[source]).reshape(state["shape"])

    def filled(self, row: Row) -> Row:
        """Returns one array for each input: the states where they belong, and the arrays of `row` in between."""
        rest = iter(row)
        return [self._values[i] if i in self.places else next(rest) for i in range(len(self._inputs))]


def chosen_signature(path: Path, known: dict[str, str], wanted: str) -> str:
    """Returns the name of the function to run, "" where a file has one and none is asked for.

    Args:
        path: The file.
        known: Name of each function to what it takes and gives, in words.
        wanted: What the user named, "" for nothing.

    Raises:
        RunError: there are several and none is named, or none of that name.
    """
    if wanted in known or (not wanted and len(known) < 2):
        return wanted
    listed = "".join(f"\n  {name}{f': {words}' if words else ''}" for name, words in known.items())
    if not known:
        raise RunError("UsageError", f'{path.name} has no signatures, and "{wanted}" was asked for. Omit --signature.')
    if wanted:
        raise RunError("UsageError", f'{path.name} has no signature "{wanted}". It has:{listed}')
    first = next(iter(known))
    raise RunError(
        "UsageError",
        f"{path.name} has {len(known)} signatures, and one is run at a time:{listed}\nChoose one: --signature {first}",
    )


def check_file(path: Path) -> None:
    """Refuses what cannot be an artifact before a runtime crashes on it."""
    if not path.exists():
        raise RunError("ArtifactError", f"{path}: no such file. Give the path of an artifact.")
    if path.is_file() and path.stat().st_size == 0:
        raise RunError("ArtifactError", f"{path} is empty (0 bytes). Copy or export it again.")


def foreign(error: Exception, message: str) -> RunError:
    """Returns the RunError for what a runtime raised; an error of edgekit's own (the evaluator's) keeps its words."""
    own = getattr(error, "message", None)
    if isinstance(own, str) and hasattr(error, "exit_code"):
        return RunError(type(error).__name__, own)
    return RunError("ArtifactError", message)


def brief(error: Exception) -> str:
    """Returns what a runtime said in one line that ends with a full stop."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    text = text if len(text) <= 400 else text[:400] + " ..."
    return text if text.endswith((".", "!", "?")) else text + "."


def title(runtime: Any) -> str:
    """Returns the runtime's name and version: `ai-edge-litert 2.3.0`."""
    return f"{runtime.name} {runtime.version}".strip()


def count_of(names: Sequence[str], what: str) -> str:
    """Returns `2 inputs (tokens, mask)`."""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def described_in(metadata: dict[str, str]) -> dict[str, list[Spec]]:
    """Returns the inputs and outputs that edgekit's converters wrote into the artifact's metadata, {} without them."""
    try:
        found: object = json.loads(metadata.get(IO_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}  # somebody else's use of the key; the runtime's own description stands
    return dict(found) if isinstance(found, dict) else {}


def states_in(metadata: dict[str, str]) -> list[Spec]:
    """Returns the states that edgekit's converters wrote into the artifact's metadata, [] without them."""
    found = described_in(metadata).get("states", [])
    try:
        for state in found:
            texts = [state[key] for key in ("name", "input", "output", "dtype")]
            values = np.asarray(state["initial"], dtype=np.dtype(state["dtype"]))
            if not all(isinstance(text, str) for text in texts) or values.size not in (1, np.prod(state["shape"])):
                return []
    except (KeyError, TypeError, ValueError):
        return []  # somebody else's use of the key
    return list(found)


def ordered(actual: list[Spec], expected: list[Spec]) -> tuple[list[int], list[Spec]]:
    """Returns for each tensor in the float model's order its place in the runtime's order, and its description.

    Where the expected names are the runtime's, they set the order. Where they are not (some formats keep no names), the
    runtime's order stands and the expected names are shown.
    """
    names = [spec["name"] for spec in actual]
    wanted = [spec["name"] for spec in expected]
    if len(wanted) != len(names):
        return list(range(len(names))), actual
    order = [names.index(name) for name in wanted] if sorted(wanted) == sorted(names) else list(range(len(names)))
    described = []
    for i, k in enumerate(order):
        spec = dict(actual[k], name=wanted[i], layout=expected[i].get("layout") or actual[k].get("layout"))
        if spec.get("scale") is None and np.dtype(spec["dtype"]).kind in "iu":
            spec["scale"], spec["zero_point"] = expected[i].get("scale"), expected[i].get("zero_point")
        described.append(spec)
    return order, described


def check_fit(path: Path, spec: Spec, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuses data that this input cannot take: another shape, or a dtype that cannot be cast or quantized to it."""
    want, given, sizes = np.dtype(spec["dtype"]), np.dtype(dtype), spec["shape"]
    same_shape = len(sizes) == len(shape) and all(sizes[i] in (-1, size) for i, size in enumerate(shape))
    same_shape = same_shape or (tuple(sizes), tuple(shape)) in SINGLE_NUMBERS
    casts = want.kind + given.kind in ("ff", "ii", "iu", "ui", "uu", "ib", "ub", "bb")
    if same_shape and (casts or (spec.get("scale") is not None and given.kind in "fiu")):
        return
    takes = f'Input "{spec["name"]}" of {path.name} takes {want} of shape {shape_text(sizes)}; the data is {given} of '
    advice = "Give data of that shape and type, or export the model with inputs like the data."
    raise RunError("DataError", f"{takes}shape {shape_text(shape)}. {advice}")


def shape_text(shape: Sequence[int]) -> str:
    """Returns `(1, 3, 224, 224)`, with `?` for a free size."""
    return "(" + ", ".join("?" if size == -1 else str(size) for size in shape) + ")"


def stored(path: Path, spec: Spec, array: Any) -> Any:
    """Returns `array` as the runtime stores it: quantized by scale and zero point, or cast without loss."""
    want: Any = np.dtype(spec["dtype"])
    if (tuple(spec["shape"]), array.shape) in SINGLE_NUMBERS:
        array = array.reshape(spec["shape"])
    if array.dtype == want:
        return np.array(array, order="C")  # not ascontiguousarray, which gives a single number an axis
    if spec.get("scale") is not None:
        limits = np.iinfo(want)
        # real = scale * (stored - zero_point), rounded half to even as NumPy does
        steps = np.rint(np.asarray(array, np.float64) / spec["scale"]) + (spec.get("zero_point") or 0)
        return np.clip(steps, limits.min, limits.max).astype(want)
    cast = np.array(array, order="C").astype(want)
    if want.kind in "iu" and not np.array_equal(cast.astype(np.int64), array.astype(np.int64)):
        raise RunError(
            "DataError",
            f'Input "{spec["name"]}" of {path.name} takes {want}; the data holds values from {array.min()} to '
            f"{array.max()}, which do not fit. Give smaller integers.",
        )
    return cast


def dequantized(spec: Spec, array: Any) -> Any:
    """Returns an output in real values: float32 where it is float or has a scale, else as it is."""
    if spec.get("scale") is not None and array.dtype.kind in "iu":
        array = (array.astype(np.float32) - np.float32(spec.get("zero_point") or 0)) * np.float32(spec["scale"])
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    return array


def as_rows(outputs: Row) -> Row:
    """Returns the outputs of a call as rows (1, ...) of a sample folder: one without a batch of one gets that axis."""
    return [array if array.ndim and array.shape[0] == 1 else array[None] for array in outputs]


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
    for i in range(samples.count):
        if i in samples.starts:
            artifact.begin()
        made = artifact.real(artifact.run(artifact.prepare(samples.row(columns, i))))
        artifact.keep(made)
        made += artifact.held_values()
        whole = [spec["name"] for spec, array in zip(described, made) if array.shape[:1] != (1,)]  # noqa: B905
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
        sizes_of = spec["shape"]
        # A free first axis is the batch, but not where it is the only one: that may be a length.
        shape = [1 if size == -1 and not axis and len(sizes_of) > 1 else size for axis, size in enumerate(sizes_of)]
        if -1 in shape:
            sizes = f'{artifact.path.name} leaves sizes of its input "{spec["name"]}" free: {shape_text(shape)}.'
            raise RunError("OpenSizesError", f"{sizes} Give data of the sizes that the app will use.")
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
    samples = SampleFolder(options.samples) if options.samples else None
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
    if "outputs" in modes and samples is not None:
        record["rows"] = write_outputs(artifact, samples, options.output, progress)
        save()
    if "latency" in modes:
        baseline = OpenArtifact(runtime, options.baseline, {}) if options.baseline else None
        record["latency"] = measure_latency(artifact, baseline, samples, options, progress)
        save()
    if options.operators:
        record["operators"] = artifact.session.operators()


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description="Runs one artifact; writes what it measured to a JSON record.")
    parser.add_argument("--runtime", required=True, help="format of the artifact, or reference")
    parser.add_argument("--session", type=Path, help="file; RUNTIME_session.py beside this one without it")
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--modes", default="", type=lambda text: text.split(","), help=f"of {','.join(MODES)}")
    parser.add_argument("--samples", type=Path, help="sample folder with the inputs")
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
    parser.add_argument("--operators", action="store_true", help="tell what each operator computes with")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit code: 0, or 1 with the reason in the record and on stderr."""
    options = parse_options(arguments)
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
