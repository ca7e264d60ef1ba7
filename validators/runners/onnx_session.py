"""Runs ONNX files through onnxruntime on the CPU."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

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

INTEGER_OPERATORS = (
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "QGemm",
    "QAttention",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
)
"""How names of operators that compute in integers begin, or are."""


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

        self._library: Any = onnxruntime
        self._threads = threads
        self.name, self.version = "onnxruntime", onnxruntime.__version__

    def open(self, path: str) -> Session:
        """Returns a session of the file at `path`; what onnxruntime raises passes through."""
        return Session(self._library, path, self._options())

    def _options(self) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # On x86 without VNNI the default 8-bit kernels add pairs of products in 16 bits, which saturates: a good file
        # then scores 8 dB instead of 24. No ARM kernel does that, so the device's result is the exact one.
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options


class Session:
    """One onnxruntime session.

    Args:
        library: The module onnxruntime.
        path: The file.
        options: SessionOptions.
    """

    def __init__(self, library: Any, path: str, options: Any) -> None:
        self._library = library
        self._path = path
        self._options = options
        self._session: Any = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [_spec(value) for value in self._session.get_inputs()]
        self.outputs = [_spec(value) for value in self._session.get_outputs()]
        self._names = [spec["name"] for spec in self.inputs]
        self._last: list[Any] = []
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, arrays: list[Any]) -> list[Any]:
        """Returns the outputs."""
        self._last = arrays
        outputs: list[Any] = self._session.run(None, {name: arrays[i] for i, name in enumerate(self._names)})
        return outputs

    def operators(self) -> dict[str, dict[str, int]] | None:
        """Returns {"integer": {operator: count}, "float": {...}} of what ran, after onnxruntime's own rewriting.

        Taken from a profile of one inference, because only that needs no other package. None before the first `run`.
        """
        if not self._last:
            return None
        with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as folder:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._library.InferenceSession(self._path, self._options, providers=["CPUExecutionProvider"])
            session.run(None, {name: self._last[i] for i, name in enumerate(self._names)})
            events = json.loads(Path(session.end_profiling()).read_text())
            self._options.enable_profiling = False
        nodes = {
            event["args"]["node_index"] + event["name"]: event["args"]["op_name"]
            for event in events
            if event.get("cat") == "Node" and "op_name" in event.get("args", {}) and "node_index" in event["args"]
        }
        counts: dict[str, dict[str, int]] = {"integer": {}, "float": {}}
        for name in nodes.values():
            kind = "integer" if name.startswith(INTEGER_OPERATORS) else "float"
            counts[kind][name] = counts[kind].get(name, 0) + 1
        return counts


def _spec(value: Any) -> dict[str, Any]:
    return {
        "name": value.name,
        "shape": [size if isinstance(size, int) else -1 for size in value.shape],
        "dtype": DTYPES.get(value.type, value.type),
        "layout": None,
        "scale": None,
        "zero_point": None,
    }
