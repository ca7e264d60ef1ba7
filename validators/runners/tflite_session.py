"""Runs TFLite files through any of the three packages that hold its interpreter.

`ai_edge_litert` is the current one, `tflite_runtime` is what many Raspberry Pis still have (it was built for NumPy 1),
and `tensorflow` carries one too. They share one Python interface; the differences are handled here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import mmap
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = "one of ai-edge-litert, tflite-runtime (with numpy<2) and tensorflow"
EXTRA = "tflite"

INTERPRETERS = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", ("ai-edge-litert",)),
    "tflite_runtime": ("tflite_runtime.interpreter", ("tflite-runtime",)),
    "tensorflow": ("tensorflow.lite.python.interpreter", ("tensorflow", "tensorflow-cpu")),
}
"""Import name to the module that has `Interpreter` and the distributions that bring it, in order of preference."""

DELEGATE, DELEGATE_TITLE = "DELEGATE", "XNNPACK"
WEIGHT_INPUT = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 0),
    "CONV_3D": (1, 0),
    "TRANSPOSE_CONV": (1, 2),
    "CONV_3D_TRANSPOSE": (1, 2),
    "FULLY_CONNECTED": (1, 0),
    "BATCH_MATMUL": (1, 0),
}
"""Operators that multiply and accumulate: which input holds the weights, and which the data."""
RECURRENT = (
    "LSTM",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "RNN",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
)
BOUNDARY = ("QUANTIZE", "DEQUANTIZE", "CAST")
"""Operators between the two worlds: they are no arithmetic of the model's own."""


class Runtime:
    """The interpreter package.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: A key of INTERPRETERS, or "" for the first one that is installed.
        threads: For each interpreter.

    Raises:
        ImportError: the package, or every one of them, is missing or broken.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        if package and package not in INTERPRETERS:
            raise ImportError(f'"{package}" has no TFLite interpreter; expected one of {", ".join(INTERPRETERS)}')
        self._threads = threads
        reasons = []
        for name in [package] if package else list(INTERPRETERS):
            try:
                self._interpreter = _interpreter_class(name)
            except ImportError as error:
                reasons.append(str(error))
                continue
            self.name, self.version = _distribution(name)
            return
        raise ImportError("; ".join(reasons))

    def open(self, path: str, signature: str = "") -> Session | SignatureSession:
        """Returns a session of the file at `path`; what the interpreter raises passes through."""
        interpreter = self._interpreter(model_path=path, num_threads=self._threads)
        return SignatureSession(interpreter, path, signature) if signature else Session(interpreter, path)

    def signatures(self, path: str) -> dict[str, str]:
        """Returns the names of a file's signatures, each with its inputs and outputs in words."""
        return read_signatures(Path(path))


class Interpreter(Protocol):
    """What all interpreters have."""

    def allocate_tensors(self) -> None:
        """Makes room for the tensors."""
        ...

    def get_input_details(self) -> list[dict[str, Any]]:
        """Returns what is known of the inputs."""
        ...

    def get_output_details(self) -> list[dict[str, Any]]:
        """Returns what is known of the outputs."""
        ...

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """Returns what is known of all tensors."""
        ...

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Returns the names of inputs and outputs of each signature."""
        ...

    def get_signature_runner(self, signature_key: str) -> Any:
        """Returns a signature as a function."""
        ...

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None:
        """Gives an input another shape."""
        ...

    def set_tensor(self, tensor_index: int, value: NDArray[Any]) -> None:
        """Fills an input."""
        ...

    def get_tensor(self, tensor_index: int) -> NDArray[Any]:
        """Returns a copy of a tensor."""
        ...

    def invoke(self) -> None:
        """Runs the model once."""
        ...


def _interpreter_class(package: str) -> Callable[..., Interpreter]:
    if package == "tflite_runtime" and not np.__version__.startswith("1."):
        raise ImportError(
            f"tflite_runtime was built for NumPy 1 and this environment has NumPy {np.__version__}: "
            'give it an environment of its own with "numpy<2"'
        )
    found: Callable[..., Interpreter] = importlib.import_module(INTERPRETERS[package][0]).Interpreter
    return found


def _distribution(package: str) -> tuple[str, str]:
    """Returns the distribution's name and version."""
    for name in INTERPRETERS[package][1]:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return package, ""


class Session:
    """One interpreter with its tensors allocated.

    Args:
        interpreter: Interpreter of any of the packages.
        path: The file it was made from.
    """

    def __init__(self, interpreter: Interpreter, path: str) -> None:
        self._interpreter = interpreter
        self._path = path
        interpreter.allocate_tensors()
        self._inputs = _in_call_order(interpreter, interpreter.get_input_details(), "inputs")
        self._outputs = _in_call_order(interpreter, interpreter.get_output_details(), "outputs")
        self.inputs = [_spec(detail) for detail in self._inputs]
        self.outputs = [_spec(detail) for detail in self._outputs]
        self.input_indices = [int(detail["index"]) for detail in self._inputs]
        self.output_indices = [int(detail["index"]) for detail in self._outputs]
        self.metadata = read_metadata(Path(path))

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns copies of the outputs."""
        for i, array in enumerate(arrays):
            detail = self._inputs[i]
            if tuple(detail["shape"]) != array.shape:
                self._interpreter.resize_tensor_input(detail["index"], array.shape)
                self._interpreter.allocate_tensors()
                detail["shape"] = np.asarray(array.shape)
        for i, array in enumerate(arrays):
            self._interpreter.set_tensor(self._inputs[i]["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the interpreter runs, one entry an operator.

        None where this interpreter does not tell. `_get_ops_details` is not public, but all three packages have it.
        """
        details = getattr(self._interpreter, "_get_ops_details", None)
        if details is None:
            return None
        tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        nodes = [Node(index, entry, tensors) for index, entry in enumerate(details())]
        taken = _delegated(nodes)
        made = {i: node for node in nodes if node.kind != DELEGATE for i in node.outputs}
        given = {detail["index"] for detail in self._inputs}
        described = []
        for node in nodes:
            if node.kind != DELEGATE:
                entry = node.described(made, given)
                entry["path"] = DELEGATE_TITLE if node.index in taken else ""
                described.append(entry)
        return described


class SignatureSession:
    """One of a file's signatures; arguments as for `Session`, and its name."""

    def __init__(self, interpreter: Interpreter, path: str, signature: str) -> None:
        self._interpreter = interpreter  # kept: the runner holds a weak reference
        self._run = interpreter.get_signature_runner(signature)
        self.inputs = [{**_spec(detail), "name": name} for name, detail in self._run.get_input_details().items()]
        self.outputs = [{**_spec(detail), "name": name} for name, detail in self._run.get_output_details().items()]
        self.metadata = read_metadata(Path(path))

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns copies of the outputs."""
        found = self._run(**{spec["name"]: array for spec, array in zip(self.inputs, arrays)})  # noqa: B905  Python 3.9
        return [np.array(found[spec["name"]]) for spec in self.outputs]

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns None: the interpreter lists the operators of a file's first graph only."""
        return None


class Node:
    """One operator of the file as the interpreter lists it.

    Args:
        index: Its place in the list.
        entry: The interpreter's: type, and indices of the tensors that it reads (-1 for an optional one that is not
            there) and writes.
        tensors: The interpreter's details by index.
    """

    def __init__(self, index: int, entry: dict[str, Any], tensors: dict[int, dict[str, Any]]) -> None:
        self.index, self.kind = index, str(entry["op_name"])
        self.inputs, self.outputs = [int(i) for i in entry["inputs"]], [int(i) for i in entry["outputs"]]
        self._tensors = tensors

    def described(self, made: dict[int, Node], given: set[int]) -> dict[str, Any]:
        """Returns the entry of `Session.operators`, without the path.

        Args:
            made: Which node writes a tensor.
            given: Indices of the model's inputs.
        """
        result = self._tensors.get(self.outputs[0]) if self.outputs else None
        shape = _sizes(result)
        entry: dict[str, Any] = {
            "name": str(result["name"]).rstrip(";") if result is not None else self.kind,
            "kind": self.kind,
            "dtype": _dtype(result),
            "rank": len(shape),
            "zero_point": _zero_point(result),
            "macs": 0,
        }
        if self.kind not in WEIGHT_INPUT and self.kind not in RECURRENT:
            dtypes = [_dtype(self._tensors.get(i)) for i in (*self.inputs, *self.outputs) if i >= 0]
            floats = any(dtype.startswith("float") for dtype in dtypes)
            entry["arithmetic"] = "other" if self.kind in BOUNDARY else "float" if floats else "integer"
            table = self._stored(self.inputs[1], made, given) if self.kind == "EMBEDDING_LOOKUP" else None
            if table is not None:
                entry["table_bits"] = _weighted([table], channels=_sizes(table)[0])["weight_bits"]
            return entry
        stored = [self._stored(i, made, given) for i in self.inputs]
        if self.kind in RECURRENT:
            weights = [tensor for tensor in stored if tensor is not None and len(_sizes(tensor)) == 2]
            data = self._tensors[self.inputs[0]]
            steps = math.prod(_sizes(data)[:-1])
            entry.update(_weighted(weights, channels=shape[-1]), macs=steps * sum(_count(tensor) for tensor in weights))
        else:
            place, data_place = WEIGHT_INPUT[self.kind]
            weight, data = stored[place], self._tensors[self.inputs[data_place]]
            entry["macs"] = self._macs(weight, data, shape)
            entry.update(_weighted([weight] if weight is not None else [], channels=shape[-1] if shape else 0))
            weights = [self._tensors[self.inputs[place]]]
        entry["arithmetic"] = _arithmetic(_dtype(data), [_dtype(tensor) for tensor in weights])
        return entry

    def _stored(self, index: int, made: dict[int, Node], given: set[int]) -> Mapping[str, Any] | None:
        """Returns the stored tensor behind an input, also where an operator dequantizes it first; None for others."""
        if index < 0 or index in given or index not in self._tensors:
            return None
        maker = made.get(index)
        if maker is None:
            return self._tensors[index]
        return maker._stored(maker.inputs[0], made, given) if maker.kind == "DEQUANTIZE" else None  # noqa: SLF001

    def _macs(self, weight: Mapping[str, Any] | None, data: Mapping[str, Any] | None, shape: list[int]) -> int:
        """Returns multiply-accumulates: each stored weight once for each place, K for each value of a plain product."""
        if weight is None:
            return math.prod(shape) * _sizes(data)[-1]
        if self.kind == "TRANSPOSE_CONV":
            return math.prod(_sizes(data)[:-1]) * _count(weight)
        return math.prod(shape[:-1]) * _count(weight)


def _delegated(nodes: list[Node]) -> set[int]:
    """Returns the indices of the nodes that delegates run: those between a delegate's inputs and its outputs.

    The interpreter leaves the nodes that a delegate has taken in its list and says only what goes in and out of it.
    """
    made = {i: node for node in nodes if node.kind != DELEGATE for i in node.outputs}
    taken: set[int] = set()
    for delegate in nodes:
        if delegate.kind != DELEGATE:
            continue
        edge = set(delegate.inputs)
        waiting = [i for i in delegate.outputs if i not in edge]
        while waiting:
            node = made.get(waiting.pop())
            if node is not None and node.index not in taken:
                taken.add(node.index)
                waiting += [i for i in node.inputs if i not in edge]
    return taken


def _sizes(tensor: Mapping[str, Any] | None) -> list[int]:
    return [] if tensor is None else [int(size) for size in tensor["shape"]]


def _count(tensor: Mapping[str, Any] | None) -> int:
    return math.prod(_sizes(tensor))


def _dtype(tensor: Mapping[str, Any] | None) -> str:
    return "" if tensor is None else np.dtype(tensor["dtype"]).name


def _zero_point(tensor: Mapping[str, Any] | None) -> int | None:
    points = [] if tensor is None else tensor["quantization_parameters"]["zero_points"]
    return int(points[0]) if len(points) == 1 and _dtype(tensor) in ("int8", "uint8", "int16") else None


def _weighted(weights: list[Mapping[str, Any]], channels: int) -> dict[str, Any]:
    """Returns what is known about stored weights: how many, in how many bits, with how many scales."""
    if not weights:
        return {}
    tensor = max(weights, key=_count)
    bits = 8 * np.dtype(tensor["dtype"]).itemsize
    # Its details call 4-bit weights int8: what tells them apart is that they are the only ones with groups.
    scales = len(tensor["quantization_parameters"]["scales"])
    return {
        "weights": sum(_count(item) for item in weights),
        "weight_bits": 4 if bits == 8 and scales > max(channels, 1) else bits,
        "scales": scales,
        "channels": channels,
    }


def _arithmetic(data: str, weights: list[str]) -> str:
    """Returns how an operator with weights computes: LiteRT quantizes float inputs of integer weights by itself."""
    if any(dtype.startswith("float") for dtype in weights):
        return "float"
    return "dynamic" if data.startswith("float") else "integer"


def _in_call_order(interpreter: Interpreter, details: list[dict[str, Any]], side: str) -> list[dict[str, Any]]:
    """Returns the details in the float model's order, each with the signature's name where the file has one signature.

    Converters name a signature's tensors args_0, args_1, ..., args_10; the file may list them in another order.
    """
    details = [dict(detail) for detail in details]
    signatures = interpreter.get_signature_list() if hasattr(interpreter, "get_signature_list") else {}
    if len(signatures) != 1:
        return details
    key = next(iter(signatures))
    try:
        runner = interpreter.get_signature_runner(key)
        named = runner.get_input_details() if side == "inputs" else runner.get_output_details()
    except (AttributeError, ValueError):
        return details  # an older interpreter: the subgraph's own order and names stand
    by_index = {detail["index"]: name for name, detail in named.items()}
    if len(by_index) != len(details) or any(detail["index"] not in by_index for detail in details):
        return details  # one tensor under two names, or a signature over another subgraph
    for detail in details:
        detail["name"] = by_index[detail["index"]]
    numbered = [re.fullmatch(r"(.*?)(\d+)", detail["name"]) for detail in details]
    stems = {match.group(1) if match else None for match in numbered}
    if len(stems) == 1 and None not in stems:
        details.sort(key=lambda detail: int(re.sub(r".*?(\d+)$", r"\1", detail["name"])))
    return details


def _spec(detail: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = detail["quantization"]
    signature = detail.get("shape_signature", detail["shape"])
    return {
        "name": detail["name"],
        "shape": [int(size) for size in (signature if len(signature) == len(detail["shape"]) else detail["shape"])],
        "dtype": np.dtype(detail["dtype"]).name,
        "layout": None,
        "scale": float(scale) or None,
        "zero_point": int(zero_point) if scale else None,
    }


def read_signatures(path: Path) -> dict[str, str]:
    """Returns the names of a file's signatures, each with its inputs and outputs: `x -> y, z`.

    In TFLite's schema: Model's field 7 holds them; a SignatureDef is (inputs, outputs, key), whose fields 0 are names.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found: dict[str, str] = {}
            for entry in _vector(data, _indirect(data, 0), 7):
                key = _field(data, entry, 2)
                places = [[_field(data, table, 0) for table in _vector(data, entry, side)] for side in (0, 1)]
                if key is not None:
                    found[_text(data, key)] = " -> ".join(", ".join(_text(data, at) for at in side) for side in places)
        except (struct.error, IndexError):
            return {}  # the interpreter will say what is wrong with the file
        return found


def _text(data: bytes | mmap.mmap, at: int | None) -> str:
    return "" if at is None else _bytes(data, at).decode("utf-8", "replace")


def read_metadata(path: Path) -> dict[str, str]:
    """Returns the file's named metadata buffers that are text.

    Read from the flatbuffer by hand, because the interpreters do not show it. In TFLite's schema (schema.fbs) the table
    Model has `buffers` as field 4 and `metadata` as field 6; Metadata is (name, buffer index); Buffer has `data` as
    field 0.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Mapped and not read: a copy of the file would count as the artifact's memory.
        return _unpacked(_text_buffers(data))


def _unpacked(found: dict[str, str]) -> dict[str, str]:
    """Returns metadata with edgekit's one entry, {"io": {...}, "metadata": {...}}, as in the other formats."""
    try:
        own = json.loads(found["edgekit"])
        entries = {str(key): str(value) for key, value in own["metadata"].items()}
        described = json.dumps(own["io"])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return found  # none, or somebody else's entry of that name
    rest = {key: value for key, value in found.items() if key != "edgekit"}
    return {**rest, **entries, "edgekit.io": described}


def _text_buffers(data: bytes | mmap.mmap) -> dict[str, str]:
    try:
        model = _indirect(data, 0)
        buffers = _vector(data, model, 4)
        found: dict[str, str] = {}
        for entry in _vector(data, model, 6):
            name, index = _field(data, entry, 0), _field(data, entry, 1)
            number = struct.unpack_from("<I", data, index)[0] if index else 0
            content = _field(data, buffers[number], 0)
            if name is None or content is None:
                continue
            raw = _bytes(data, content)
            text = raw.rstrip(b"\0").decode("utf-8", "replace")
            if "\ufffd" not in text:
                found[_bytes(data, name).decode("utf-8", "replace")] = text
    except (struct.error, IndexError):
        return {}  # the interpreter has read the file, so only its metadata is odd; nothing else depends on it
    return found


def _indirect(data: bytes | mmap.mmap, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes | mmap.mmap, table: int, number: int) -> int | None:
    """Returns where field `number` of a flatbuffer table lies, or None where it is absent."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, vtable)[0])
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0]) if slot < size else 0
    return table + offset if offset else None


def _vector(data: bytes | mmap.mmap, table: int, number: int) -> list[int]:
    """Returns where the tables of the vector in field `number` lie; empty where it is absent."""
    at = _field(data, table, number)
    if at is None:
        return []
    start = _indirect(data, at)
    count = int(struct.unpack_from("<I", data, start)[0])
    return [_indirect(data, start + 4 + 4 * i) for i in range(count)]


def _bytes(data: bytes | mmap.mmap, at: int) -> bytes:
    """Returns the bytes of the string or byte vector that the offset at `at` points to."""
    start = _indirect(data, at)
    return bytes(data[start + 4 : start + 4 + int(struct.unpack_from("<I", data, start)[0])])
