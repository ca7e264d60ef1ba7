"""Runs ExecuTorch programs in the pip package's own runtime, with XNNPACK.

This is the compiled module that `executorch.runtime` wraps. It is used without the wrapper, which imports the whole
exporter for the name of one warning: 6 s and 140 MB in each process.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import mmap
import struct
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = "executorch"
EXTRA = "executorch"

DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}
"""ExecuTorch's ScalarType by number (runtime/core/portable_type/scalar_type.h)."""

XNN_DTYPES = {
    1: "float32",
    2: "float16",
    3: "int8",
    4: "uint8",
    5: "int32",
    6: "int8",
    7: "int32",
    8: "int4",
    9: "dynamic",
    10: "int4",
    11: "dynamic",
    12: "int32",
    13: "float32",
    14: "bfloat16",
}
"""XNNPACK's datatypes by number (backends/xnnpack/serialization/schema.fbs): 9 and 11 get their grid at run time."""

XNN_NODES = (
    "", "Add", "FullyConnected", "Softmax", "Sigmoid", "StaticTranspose", "Clamp", "Conv2d", "Div",
    "StaticResizeBilinear2D", "StaticConstantPad", "AvgPooling2d", "Minimum", "DepthwiseConv2d", "MaxPooling2d",
    "Multiply", "Subtract", "Floor", "Convert", "GlobalAvgPooling2d", "StaticReshape", "ArgMaxPooling2d",
    "SquareRoot", "Ceiling", "Hardswish", "LeakyReLU", "Maximum", "Negate", "Square", "ELU", "Abs", "PReLU",
    "Concatenate2", "Concatenate3", "Concatenate4", "StaticSlice", "ScaledDotProductAttention",
    "BatchMatrixMultiply", "Concatenate5", "ConvTranspose2d", "ReciprocalSquareRoot", "Log", "Gelu", "Tanh", "Exp",
    "Sin", "Copy", "Cos",
)  # fmt: skip
"""Members of the schema's union XNodeUnion, in its order."""

XNN_OUTPUT = {
    "FullyConnected": 3, "StaticTranspose": 3, "StaticResizeBilinear2D": 3, "StaticConstantPad": 4, "Conv2d": 18,
    "DepthwiseConv2d": 18, "ConvTranspose2d": 18, "AvgPooling2d": 11, "MaxPooling2d": 11, "ArgMaxPooling2d": 8,
    "StaticReshape": 3, "StaticSlice": 4, "LeakyReLU": 2, "ELU": 2, "ScaledDotProductAttention": 5,
    "Concatenate2": 5, "Concatenate3": 5, "Concatenate4": 5, "Concatenate5": 5, "Add": 2, "Div": 2, "Minimum": 2,
    "Multiply": 2, "Subtract": 2, "Maximum": 2, "PReLU": 2, "BatchMatrixMultiply": 2,
}  # fmt: skip
"""Field that holds the output's id, where it is not 1."""

XNN_PRODUCTS = {
    "FullyConnected": (0, 1),
    "BatchMatrixMultiply": (0, 1),
    "Conv2d": (15, 16),
    "DepthwiseConv2d": (15, 16),
    "ConvTranspose2d": (15, 16),
}
"""Nodes that multiply and accumulate: the fields of the data's id and of the weights'."""

PORTABLE_PRODUCTS = {
    "aten::convolution": (0, 1),
    "aten::addmm": (1, 2),
    "aten::mm": (0, 1),
    "aten::bmm": (0, 1),
    "aten::linear": (0, 1),
}
"""Portable kernels that multiply and accumulate: the arguments of the data and of the weights."""
TABLE_BITS = {
    "aten::embedding": 32,
    "quantized_decomposed::embedding_byte": 8,
    "quantized_decomposed::embedding_4bit": 4,
    "quantized_decomposed::embedding_2bit": 2,
}
"""Portable kernels that look up rows of a table, and the bits of one of its values."""
BOUNDARY = ("Convert", "quantize_per", "dequantize_per", "choose_qparams", "_to_copy", "_to_dim_order_copy")
"""Beginnings of names of operators between float and integers: they are no arithmetic of the model's own."""
DELEGATE_TITLE = "XNNPACK"


class Runtime:
    """ExecuTorch's runtime.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: Not used.
        threads: Size of the runtime's one thread pool.

    Raises:
        ImportError: executorch is missing.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        import torch
        from executorch.extension.pybindings import _portable_lib

        # Brings the out variants of quantized operators (embedding tables among them); the runtime alone has none.
        importlib.import_module("executorch.kernels.quantized")
        torch.set_num_threads(threads)
        # Its name warns because inferences that run meanwhile would break; here none does.
        _portable_lib._unsafe_reset_threadpool(threads)  # noqa: SLF001  the wrapper has the same names
        self._library: ModuleType = _portable_lib
        self.name, self.version = "executorch", importlib.metadata.version("executorch")

    def open(self, path: str, signature: str = "") -> Session:
        """Returns a session of the file at `path`; what the runtime raises passes through."""
        alone = next(iter(self.signatures(path)), "forward")
        return Session(self._library._load_program(path), path, signature or alone)  # noqa: SLF001

    def signatures(self, path: str) -> dict[str, str]:
        """Returns the names of a program's methods that take anything, each with how much."""
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Not by the runtime: what it loads would count as the artifact's memory.
            try:
                counts = {plan.text(0): len(plan.numbers(3)) for plan in Table.root(data).tables(1)}
            except (struct.error, IndexError, ValueError):
                return {}  # the runtime will say what is wrong with the file
        return {name: f"{count} input{'s'[: count != 1]}" for name, count in counts.items() if count}


class Session:
    """One loaded method.

    Args:
        program: From `_load_program`.
        path: The file it was made from.
        method: Its name.
    """

    def __init__(self, program: Any, path: str, method: str = "forward") -> None:
        import torch

        self._path, self._name = path, method
        names = set(_methods(program))
        if method not in names:
            raise ValueError(f"it has no method {method}, only {', '.join(sorted(names)) or 'none'}")
        self._from_numpy: Any = torch.from_numpy
        self._program = program
        self._method: Any = program.load_method(method)
        meta = self._method.method_meta()
        self.inputs = [_spec(meta.input_tensor_meta(i), f"input_{i}") for i in range(meta.num_inputs())]
        self.outputs = [_spec(meta.output_tensor_meta(i), f"output_{i}") for i in range(meta.num_outputs())]
        self.metadata = _constants(program, sorted(names - {method}))
        self._state_names = _held_states(self.metadata)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns copies of the outputs: the runtime reuses their memory."""
        outputs = self._method([self._from_numpy(array) for array in arrays])
        return [output.numpy().copy() for output in outputs]

    def reset(self) -> None:
        """Loads the method again: its states begin anew."""
        self._method = self._program.load_method(self._name)

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Returns copies of the states that the program keeps, by name."""
        return {name: self._method.get_attribute(name).numpy().copy() for name in self._state_names}

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the program's file holds, one entry an operator: the runtime does not report it."""
        return operators_in(Path(self._path), self._name)


def _methods(program: Any) -> list[str]:
    return [program.get_method_name(i) for i in range(program.num_methods())]


def _constants(program: Any, names: list[str]) -> dict[str, str]:
    """Returns what the program's methods without inputs return as text: how a .pte carries metadata."""
    found: dict[str, str] = {}
    for name in names:
        if program.method_meta(name).num_inputs():
            continue
        values = program.load_method(name)([])
        if len(values) == 1 and isinstance(values[0], (str, int, float, bool)):
            found[name] = str(values[0])
    return found


def _held_states(metadata: dict[str, str]) -> list[str]:
    """Returns the names of the states that the program keeps itself, as edgekit's converter has written them."""
    try:
        states = json.loads(metadata["edgekit.io"])["states"]
        return [str(state["input"]) for state in states if state["held"]]
    except (KeyError, TypeError, ValueError):
        return []  # none, or somebody else's program


def _spec(info: Any, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "shape": [int(size) for size in info.sizes()],
        "dtype": DTYPES.get(int(info.dtype()), f"ScalarType {int(info.dtype())}"),
        "layout": None,
        "scale": None,
        "zero_point": None,
    }


class Table:
    """A table of a flatbuffer.

    Args:
        data: The buffer.
        at: Where the table lies.
    """

    def __init__(self, data: bytes | mmap.mmap, at: int) -> None:
        self._data, self._at = data, at

    @classmethod
    def root(cls, data: bytes | mmap.mmap, start: int = 0) -> Table:
        """Returns the root table of the flatbuffer that begins at `start`."""
        return cls(data, start + int(struct.unpack_from("<I", data, start)[0]))

    def number(self, field: int, form: str = "<i") -> int:
        """Returns a number, 0 where it is absent."""
        at = self._field(field)
        return int(struct.unpack_from(form, self._data, at)[0]) if at else 0

    def table(self, field: int) -> Table | None:
        """Returns a table or the value of a union; None where it is absent."""
        at = self._field(field)
        return Table(self._data, self._target(at)) if at else None

    def tables(self, field: int) -> list[Table]:
        """Returns the tables of a vector."""
        start, count = self._vector(field)
        return [Table(self._data, self._target(start + 4 * i)) for i in range(count)]

    def numbers(self, field: int, form: str = "i") -> list[int]:
        """Returns the numbers of a vector."""
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}{form}", self._data, start)) if count else []

    def text(self, field: int) -> str:
        """Returns a string."""
        start, count = self._vector(field)
        return bytes(self._data[start : start + count]).decode("utf-8", "replace")

    def extent(self, field: int) -> tuple[int, int]:
        """Returns (start, count) of a vector of bytes."""
        return self._vector(field)

    def _target(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self._data, at)[0])

    def _field(self, field: int) -> int:
        vtable = self._at - int(struct.unpack_from("<i", self._data, self._at)[0])
        size = int(struct.unpack_from("<H", self._data, vtable)[0])
        slot = 4 + 2 * field
        offset = int(struct.unpack_from("<H", self._data, vtable + slot)[0]) if slot < size else 0
        return self._at + offset if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._field(field)
        if not at:
            return 0, 0
        start = self._target(at)
        return start + 4, int(struct.unpack_from("<I", self._data, start)[0])


def operators_in(path: Path, method: str = "forward") -> list[dict[str, Any]] | None:
    """Returns the operators of a method: kernel calls, and the nodes of each XNNPACK graph.

    None where the file has another form than ExecuTorch's schema (exir/_serialize/program.fbs) of version 1.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            program = Table.root(data)
            plan = next(plan for plan in program.tables(1) if plan.text(0) == method)
            found = []
            for chain in plan.tables(5):
                for instruction in chain.tables(2):
                    kind, call = instruction.number(0, "<B"), instruction.table(1)
                    if call is not None and kind == 1:
                        found.append(_kernel_call(plan, call))
                    elif call is not None and kind == 2:
                        found += _delegate_call(data, program, plan.tables(7)[call.number(0)])
        except (struct.error, IndexError, StopIteration, ValueError):
            return None  # the runtime has run it: only our reading of the file fails, and that is said as unknown
        return found


def _kernel_call(plan: Table, call: Table) -> dict[str, Any]:
    operator = plan.tables(6)[call.number(0)]
    kind, values = operator.text(0), plan.tables(2)
    tensors = [values[i].table(1) if values[i].number(0, "<B") == 5 else None for i in call.numbers(1)]
    shapes = [tensor.numbers(2) if tensor is not None else [] for tensor in tensors]
    dtypes = [DTYPES.get(tensor.number(0, "<b"), "") if tensor is not None else "" for tensor in tensors]
    last = max((i for i, tensor in enumerate(tensors) if tensor is not None), default=0)
    entry = _entry(kind, dtypes[last] if dtypes else "", shapes[last] if shapes else [])
    if kind in TABLE_BITS:
        entry["table_bits"] = TABLE_BITS[kind]
    if kind in PORTABLE_PRODUCTS:
        data, weight = PORTABLE_PRODUCTS[kind]
        entry["arithmetic"] = "float" if dtypes[data].startswith("float") else "integer"
        if kind == "aten::convolution":
            entry["macs"] = math.prod(shapes[last]) // max(shapes[weight][0], 1) * math.prod(shapes[weight])
        else:
            entry["macs"] = math.prod(shapes[last]) * shapes[data][-1]
        entry.update(weights=math.prod(shapes[weight]), weight_bits=32, channels=shapes[weight][0])
    return entry


def _entry(kind: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    """Returns an operator without weights, outside of any delegate."""
    floats = dtype.startswith(("float", "bfloat"))
    is_boundary = kind.rpartition("::")[2].startswith(BOUNDARY)
    return {
        "name": f"{kind} {'x'.join(map(str, shape))}".rstrip(),
        "kind": kind,
        "dtype": dtype,
        "rank": len(shape),
        "zero_point": None,
        "macs": 0,
        "arithmetic": "other" if is_boundary else "float" if floats else "integer",
        "path": "",
    }


def _delegate_call(data: bytes | mmap.mmap, program: Table, delegate: Table) -> list[dict[str, Any]]:
    """Returns what an XNNPACK graph holds; another backend's graph is one operator of unknown arithmetic."""
    title = delegate.text(0)
    if title != "XnnpackBackend":
        return [{**_entry(title, "", []), "arithmetic": "other", "macs": None, "path": title}]
    place = delegate.table(1)
    index = place.number(1, "<I") if place is not None else 0
    if place is not None and place.number(0, "<b") == 1:
        # The extended header: "eh00" at 8, its length, the program's size, and where segments begin.
        base = int(struct.unpack_from("<Q", data, 24)[0])
        start = base + program.tables(4)[index].number(0, "<Q")
    else:
        start = program.tables(3)[index].extent(0)[0]
    # XNNPACK's own header (backends/xnnpack/runtime/XNNHeader.h): "XH00" at 4, the graph's offset at 10.
    offset = int(struct.unpack_from("<I", data, start + 10)[0]) if data[start + 4 : start + 8] == b"XH00" else 0
    graph = Table.root(data, start + offset)
    values = {}
    for item in graph.tables(2):
        value = XnnValue(item)
        values[value.id] = value
    return [_xnn_node(node, values) for node in graph.tables(1)]


class XnnValue:
    """One value of an XNNPACK graph: its type, shape and grid."""

    def __init__(self, item: Table) -> None:
        value, self.scales, self.zero_point = item.table(1), 0, None
        if value is not None and item.number(0, "<B") == 2:
            grid, kind = value.table(2), value.number(1, "<B")
            value = value.table(0)
            if grid is not None and kind in (1, 4):
                self.scales = grid.number(3 if kind == 1 else 5, "<I") or grid.extent(0)[1]
            if grid is not None and kind == 2:
                self.scales, self.zero_point = 1, grid.number(1)
        if value is None:
            raise ValueError("a value of an XNNPACK graph has no tensor")
        self.id, self.dtype = value.number(6, "<I"), XNN_DTYPES.get(value.number(0, "<h"), "")
        self.shape, self.is_stored = value.numbers(2, "I"), value.number(3, "<I") > 0


def _xnn_node(item: Table, values: dict[int, XnnValue]) -> dict[str, Any]:
    number, node = item.number(0, "<B"), item.table(1)
    kind = XNN_NODES[number] if number < len(XNN_NODES) else f"XNNPACK node {number}"
    result = values.get(node.number(XNN_OUTPUT.get(kind, 1), "<I")) if node is not None else None
    entry = _entry(kind, result.dtype if result else "", result.shape if result else [])
    entry["path"] = DELEGATE_TITLE
    entry["zero_point"] = result.zero_point if result else None
    if node is None or result is None or kind not in XNN_PRODUCTS:
        return entry
    data, weight = (values[node.number(field, "<I")] for field in XNN_PRODUCTS[kind])
    if "float" in data.dtype or "float" in weight.dtype:
        entry["arithmetic"] = "float"
    else:
        entry["arithmetic"] = "dynamic" if data.dtype == "dynamic" else "integer"
    if not weight.is_stored:
        entry["macs"] = math.prod(result.shape) * data.shape[-1]
        return entry
    count = math.prod(weight.shape)
    # Convolutions are (N, H, W, C) here; a depthwise filter is (1, h, w, C).
    places = math.prod((data if kind == "ConvTranspose2d" else result).shape[:-1])
    bits = {"int8": 8, "int4": 4, "float16": 16, "float32": 32}.get(weight.dtype, 0)
    entry.update(macs=places * count, weights=count, weight_bits=bits, scales=weight.scales)
    entry["channels"] = result.shape[-1]
    entry["name"] = f"{kind} {'x'.join(map(str, weight.shape))}"
    return entry
