"""An artifact that a runner has opened: its inputs, outputs and states in the terms of the float model's data.

Half of `runner.py`, which is copied to devices together with this file: it needs NumPy, and Python 3.9 or newer.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Spec = dict[str, Any]
Row = list["np.ndarray[Any, np.dtype[Any]]"]

IO_KEY = "edgekit.io"
"""Metadata entry with the inputs and outputs as JSON, written by edgekit's converters."""

SINGLE_NUMBERS = (((1,), ()), ((), (1,)))
"""Shapes of an artifact's input and of the data: some formats have no tensor without axes."""


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
        sizes = folder / "sizes.npy"
        self.sizes = np.load(sizes) if sizes.exists() else None  # each row's own, where rows differ
        whole = facts.get("whole", [])  # tensors without a batch of one in front
        self.shapes = [
            array.shape[1:] if name in whole else (1, *array.shape[1:])
            for name, array in zip(self.names, self.arrays)  # noqa: B905  Python 3.9 has no strict
        ]

    def row(self, columns: Sequence[int], i: int) -> Row:
        """Returns row `i` of these tensors, in the shapes of a call: its own sizes where rows differ."""
        row = [np.array(self.arrays[column][i]).reshape(self.shapes[column]) for column in columns]
        if self.sizes is None:
            return row
        own = [self.sizes[i][column][: array.ndim] for column, array in zip(columns, row)]  # noqa: B905
        return [array[tuple(map(slice, sizes))].copy() for array, sizes in zip(row, own)]  # noqa: B905


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
                path,
                f"{path.name} ({size}) cannot be loaded by {title(runtime)}: {brief(error)} "
                "The file is cut off, damaged, or made for another runtime or version: copy or export it again.",
            ) from error
        check_tensors(path, self.session)
        self.load_ms = (time.perf_counter_ns() - started) / 1e6
        self.metadata: dict[str, str] = dict(self.session.metadata)
        expected = expected or described_in(self.metadata)
        self._input_order, self.inputs = ordered(self.session.inputs, expected.get("inputs", []))
        self._output_order, self.outputs = ordered(self.session.outputs, expected.get("outputs", []), some=True)
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
                self.path,
                f"{self.path.name} was loaded by {title(self.runtime)} and failed when it ran: {brief(error)} "
                "Export it again; if it still fails, this runtime lacks what the artifact needs.",
            ) from error

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the runtime says of each operator that it runs; None where it says nothing."""
        try:
            found: list[dict[str, Any]] | None = self.session.operators()
        except Exception as error:
            raise foreign(
                error,
                self.path,
                f"{self.path.name} was loaded by {title(self.runtime)}, which cannot say what it computes with: "
                f"{brief(error)} The file is damaged: copy or export it again.",
            ) from error
        return found

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


def check_tensors(path: Path, session: Any) -> None:
    """Refuses an artifact whose inputs or outputs are no tensors: lists of dictionaries, say."""
    for what, specs in (("input", session.inputs), ("output", session.outputs)):
        for spec in specs:
            try:
                np.dtype(spec["dtype"])
            except (TypeError, ValueError, SyntaxError):  # NumPy parses commas and brackets in names
                found = f'{path.name}: its {what} "{spec["name"]}" is of type {spec["dtype"]}, which is no tensor. '
                advice = "Export the model without what makes it (ZipMap: options={'zipmap': False})."
                raise RunError("ArtifactError", found + advice) from None


def foreign(error: Exception, path: Path, message: str) -> RunError:
    """Returns the RunError for what a runtime raised; an error of edgekit's own keeps its words, and names the file."""
    own = getattr(error, "message", None)
    if isinstance(own, str) and hasattr(error, "exit_code"):
        return RunError(type(error).__name__, own if path.name in own else f"{path.name}: {own}")
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


def ordered(actual: list[Spec], expected: list[Spec], *, some: bool = False) -> tuple[list[int], list[Spec]]:
    """Returns for each tensor in the float model's order its place in the runtime's order, and its description.

    Where the expected names are the runtime's, they set the order. Where they are not (some formats keep no names), the
    runtime's order stands and the expected names are shown. With `some`, what the runtime has beside the expected ones
    is left out: the label of a classifier, which follows from its scores.
    """
    names = [spec["name"] for spec in actual]
    wanted = [spec["name"] for spec in expected]
    named = sorted(wanted) == sorted(names) or (some and 0 < len(wanted) < len(names) and set(wanted) < set(names))
    if len(wanted) != len(names) and not named:
        return list(range(len(names))), actual
    order = [names.index(name) for name in wanted] if named else list(range(len(names)))
    described = []
    for i, k in enumerate(order):
        spec = dict(actual[k], name=wanted[i], layout=expected[i].get("layout") or actual[k].get("layout"))
        spec.update(open_sizes(spec["shape"], expected[i]))
        if spec.get("scale") is None and np.dtype(spec["dtype"]).kind in "iu":
            spec["scale"], spec["zero_point"] = expected[i].get("scale"), expected[i].get("zero_point")
        described.append(spec)
    return order, described


def open_sizes(sizes: Sequence[int], expected: Spec) -> Spec:
    """Returns `shape` with -1 for the sizes that the expected tensor leaves open, and `largest` where it tells that.

    A runtime tells the largest size where one is open.
    """
    shape, largest = expected.get("shape"), expected.get("largest")
    if not isinstance(shape, list) or len(shape) != len(sizes) or -1 not in shape:
        return {}
    found: Spec = {"shape": [-1 if free == -1 else size for free, size in zip(shape, sizes)]}  # noqa: B905
    if isinstance(largest, list) and len(largest) == len(sizes) and all(type(n) is int and n > 0 for n in largest):
        found["largest"] = largest
    return found


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


def made_up_shape(sizes: Sequence[int]) -> list[int]:
    """Returns the shape of a made-up row of an input; -1 where only the user knows the size.

    A free first axis is the batch, but not where it is the only one: that may be a length.
    """
    return [1 if size == -1 and not axis and len(sizes) > 1 else size for axis, size in enumerate(sizes)]


def open_sizes_text(path: Path, name: str, shape: Sequence[int]) -> str:
    """Returns what is said of an input for which no row can be made up."""
    sizes = f'{path.name} leaves sizes of its input "{name}" free: {shape_text(shape)}.'
    return f"{sizes} Give data of the sizes that the app will use."


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
