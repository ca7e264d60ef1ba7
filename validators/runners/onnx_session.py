"""Runs ONNX files through onnxruntime on the CPU."""

from __future__ import annotations

import json
import math
import mmap
import platform
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

PACKAGES = "onnxruntime"
EXTRA = "onnx"

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}

BITS = {"float": 32, "float16": 16, "double": 64, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4}
"""Bits of one element, by the words of onnxruntime's profile."""

PRODUCTS = {
    "Conv": ("float", 1, None),
    "FusedConv": ("float", 1, None),
    "NhwcFusedConv": ("float", 1, None),
    "ConvTranspose": ("float", 1, None),
    "Gemm": ("float", 1, None),
    "FusedGemm": ("float", 1, None),
    "MatMul": ("float", 1, None),
    "FusedMatMul": ("float", 1, None),
    "MatMulNBits": ("float", 1, 2),
    "LSTM": ("float", 1, None),
    "GRU": ("float", 1, None),
    "RNN": ("float", 1, None),
    "QLinearConv": ("integer", 3, 4),
    "QLinearMatMul": ("integer", 3, 4),
    "QGemm": ("integer", 3, 4),
    "ConvInteger": ("dynamic", 1, None),
    "MatMulInteger": ("dynamic", 1, None),
    "MatMulIntegerToFloat": ("dynamic", 1, 3),
    "DynamicQuantizeMatMul": ("dynamic", 1, 2),
    "DynamicQuantizeLSTM": ("dynamic", 1, None),
}
"""Operators that multiply and accumulate: how they compute, and which inputs hold the weights and their scales."""
TABLE = "GatherBlockQuantized"
"""Operator that looks up rows of a table, several values to a byte."""
RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
BOUNDARY = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")
"""Operators between the two worlds: they are no arithmetic of the model's own."""
FLOATS = ("float", "float16", "double")
EXACT = "session.x64quantprecision"
"""Session option that makes 8-bit products exact on every x86 processor."""
WITHOUT_VNNI = "this processor has no VNNI, and its 8-bit products saturate otherwise"
VNNI = {"avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni"}
INTEGER_OPERATORS = (b"QuantizeLinear", b"QLinear", b"QGemm", b"MatMulInteger", b"ConvInteger", b"DynamicQuantize")
KERNELS, KERNEL_TYPES = "MLAS", ("float", "float16", "int8", "uint8", "int4", "uint4")
"""onnxruntime's vectorised matrix kernels, and the types they take; others run in generic code."""


class Runtime:
    """onnxruntime.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: Not used.
        threads: For each session, within one operator.

    Raises:
        ImportError: onnxruntime is missing.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        import onnxruntime

        self._library: ModuleType = onnxruntime
        self._threads = threads
        self.name, self.version = "onnxruntime", onnxruntime.__version__

    def open(self, path: str) -> Session:
        """Returns a session of the file at `path`; what onnxruntime raises passes through."""
        if not (saturates(platform.machine(), cpu_flags()) and holds_integer_products(path)):
            return Session(self._library, path, self._options(exact=False))
        try:
            return Session(self._library, path, self._options(exact=True), f"{EXACT}=1: {WITHOUT_VNNI}")
        except Exception:
            # onnxruntime's rewriting for the exact products fails on weights that several nodes share.
            session = Session(self._library, path, self._options(exact=False))
            session.settings = f"without {EXACT}, with which the file does not load; {WITHOUT_VNNI}"
            return session

    def _options(self, *, exact: bool) -> onnxruntime.SessionOptions:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if exact:
            options.add_session_config_entry(EXACT, "1")
        return options


def saturates(machine: str, flags: set[str]) -> bool:
    """Returns True if this processor's 8-bit kernels lose products, so that onnxruntime must be told to be exact.

    x86 without VNNI adds pairs of products in 16 bits, which saturates: a good file then scores 8 dB instead of 24. No
    ARM kernel does that, so the device's result is the exact one. With VNNI nothing is lost, and the exact kernels take
    twice as long.

    Args:
        machine: `platform.machine()`.
        flags: See `cpu_flags`.
    """
    return machine.lower() in ("x86_64", "amd64", "i386", "i686", "x86") and not flags & VNNI


def cpu_flags() -> set[str]:
    """Returns the processor's features by Linux's names; empty where the system does not tell."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return set(found.group(1).split()) if found else set()


def holds_integer_products(path: str) -> bool:
    """Returns True if the file names an operator that may become an 8-bit product."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in INTEGER_OPERATORS)


class Session:
    """One onnxruntime session.

    Args:
        library: The module onnxruntime.
        path: The file.
        options: SessionOptions.
        settings: What is unusual about them, in words.
    """

    def __init__(self, library: ModuleType, path: str, options: onnxruntime.SessionOptions, settings: str = "") -> None:
        self._library = library
        self._path = path
        self._options = options
        self.settings = settings
        self._session: onnxruntime.InferenceSession = library.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [_spec(value) for value in self._session.get_inputs()]
        self.outputs = [_spec(value) for value in self._session.get_outputs()]
        self._names = [spec["name"] for spec in self.inputs]
        self._last: list[NDArray[Any]] = []
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        self._last = arrays
        outputs = self._session.run(None, {name: arrays[i] for i, name in enumerate(self._names)})
        return cast("list[NDArray[Any]]", outputs)

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what ran, after onnxruntime's own rewriting, one entry an operator.

        Taken from a profile of one inference, because only that needs no other package. None before the first `run`.
        """
        if not self._last:
            return None
        with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as folder:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = str(Path(folder) / "profile")
            # Packed weights vanish from the profile, and with them the shapes that tell the work.
            self._options.add_session_config_entry("session.disable_prepacking", "1")
            session = self._library.InferenceSession(self._path, self._options, providers=["CPUExecutionProvider"])
            session.run(None, {name: self._last[i] for i, name in enumerate(self._names)})
            events = json.loads(Path(session.end_profiling()).read_text())
            self._options.enable_profiling = False
        nodes = {
            (event["args"]["node_index"], event["name"]): event["args"]
            for event in events
            if event.get("cat") == "Node" and "op_name" in event.get("args", {}) and "node_index" in event["args"]
        }
        stored = _dequantized_weights(nodes.values())
        return [described(_node_name(name), facts, stored) for (_, name), facts in nodes.items()]


def _node_name(event: str) -> str:
    """Returns the node's name without what the profile and onnxruntime's rewriting add to it."""
    name = event.removesuffix("_kernel_time").removeprefix("InsertedPrecisionFreeCast_")
    return re.sub(r"(_token_\d+|_nchwc)+$", "", name)


def described(name: str, facts: dict[str, Any], stored: dict[int, list[str]]) -> dict[str, Any]:
    """Returns the entry of `Session.operators` of one node.

    Args:
        name: The node's.
        facts: `args` of its event.
        stored: Types of stored weights that are dequantized while the model runs, by number of
            elements; what is used is taken out.
    """
    kind = facts["op_name"]
    inputs, (dtype, shape) = _tensors(facts["input_type_shape"]), _first(_tensors(facts["output_type_shape"]))
    entry: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "dtype": DTYPES.get(f"tensor({dtype})", dtype),
        "rank": len(shape),
        "zero_point": None,
        "macs": 0,
        "path": "",
    }
    if kind not in PRODUCTS:
        entry["arithmetic"] = "other" if kind in BOUNDARY else "float" if dtype in FLOATS else "integer"
        if kind == TABLE:
            entry["table_bits"] = BITS.get(inputs[0][0], 0) * inputs[0][1][-1] // max(shape[-1], 1)
        return entry
    arithmetic, place, scale_place = PRODUCTS[kind]
    weight_type, weight_shape = inputs[place]
    data_shape = inputs[0][1]
    count, bits = _weight_count(kind, inputs, place), BITS.get(weight_type, 0)
    is_stored = kind == "MatMulNBits" or int(facts.get("parameter_size", 0)) * 8 >= count * bits
    if kind == "MatMulNBits":
        bits = _bits_in_groups(weight_shape, data_shape[-1])
    elif not is_stored and stored.get(math.prod(weight_shape)):
        bits, is_stored = BITS[stored[math.prod(weight_shape)].pop()], True
    entry["arithmetic"] = arithmetic
    if kind in ("Gemm", "MatMul", "FusedGemm", "FusedMatMul") and data_shape[-1:] == (1,):
        return entry  # nothing is summed: a column times a row is an elementwise product
    entry["macs"] = _macs(kind, data_shape, shape, count, weight_shape)
    entry["path"] = KERNELS if dtype in KERNEL_TYPES else ""
    if is_stored:
        channels = weight_shape[0] if "Conv" in kind or kind == "MatMulNBits" else shape[-1]
        scales = math.prod(inputs[scale_place][1]) if scale_place is not None and scale_place < len(inputs) else 0
        entry.update(weights=count, weight_bits=bits, scales=scales, channels=channels)
    return entry


def _weight_count(kind: str, inputs: list[tuple[str, tuple[int, ...]]], place: int) -> int:
    shape = inputs[place][1]
    if kind == "MatMulNBits":
        return shape[0] * inputs[0][1][-1]  # (outputs, groups, bytes of a group), several weights to a byte
    return math.prod(shape) + (math.prod(inputs[place + 1][1]) if kind in RECURRENT else 0)


def _bits_in_groups(shape: tuple[int, ...], columns: int) -> int:
    """Returns the bits of a weight that lies in groups; the last group is filled up, also where it is the only one.

    Args:
        shape: (outputs, groups, bytes of a group).
        columns: Columns of the matrix. Groups are powers of two, in practice of 32 columns or more.
    """
    group = 32
    while group * shape[1] < columns:
        group *= 2
    return 8 * shape[2] // group


def _macs(kind: str, data: tuple[int, ...], result: tuple[int, ...], count: int, weight: tuple[int, ...]) -> int:
    """Returns multiply-accumulates: each weight once for each place of the output (of the input where transposed)."""
    if kind in RECURRENT:
        return math.prod(data[:-1]) * count
    if kind == "ConvTranspose":
        return math.prod(data) // max(weight[0], 1) * count
    if "Conv" in kind:
        return math.prod(result) // max(weight[0], 1) * count
    if kind == "MatMulNBits" or len(weight) <= 2:
        return math.prod(result[:-1]) * count
    return math.prod(result) * data[-1]


def _dequantized_weights(nodes: Iterable[Mapping[str, Any]]) -> dict[int, list[str]]:
    """Returns types of stored integer weights that DequantizeLinear turns into float, by number of elements.

    By number and not by shape: recurrent weights are reshaped before they are used.
    """
    found: dict[int, list[str]] = {}
    for facts in nodes:
        if facts["op_name"] == "DequantizeLinear" and int(facts.get("activation_size", 1)) == 0:
            dtype, shape = _first(_tensors(facts["input_type_shape"]))
            found.setdefault(math.prod(shape), []).append(dtype)
    return found


def _tensors(listed: Iterable[Mapping[str, Iterable[int]]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, tuple(shape)) for item in listed for dtype, shape in item.items()]


def _first(tensors: list[tuple[str, tuple[int, ...]]]) -> tuple[str, tuple[int, ...]]:
    return tensors[0] if tensors else ("", ())


def _spec(value: onnxruntime.NodeArg) -> dict[str, Any]:
    return {
        "name": value.name,
        "shape": [size if isinstance(size, int) else -1 for size in value.shape],
        "dtype": DTYPES.get(value.type, value.type),
        "layout": None,
        "scale": None,
        "zero_point": None,
    }
