"""Plants one fault into a real artifact: a dead channel, stale weights, a wrong scale or zero point, one NaN, a swap.

What an artifact stores is found by each format's own structure, and changed there: buffers and grids of a TFLite
flatbuffer, initializers of an ONNX graph, constants of XNNPACK's graphs in a .pte, the weight file and the small
constants of a Core ML package.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Role = Literal["weight", "bias", "scale", "zero_point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One thing that an artifact stores.

    Attributes:
        name: As the format names it.
        role: What it is to the layer that reads it; a scale or zero point may be an activation's.
        array: Its values; 4-bit ones are the bytes that hold them.
        axis: Of the layer's output channels, where it is a weight that has them.
        key: Where it lies, for `rewrite`.
    """

    name: str
    role: Role
    array: np.ndarray
    axis: int | None = None
    key: Any = field(default=None, compare=False)


Change = Callable[[np.ndarray, int | None], np.ndarray]


def dead_channel(array: np.ndarray, axis: int | None) -> np.ndarray:
    """Makes the weights of the loudest output channel zero."""
    if axis is None or array.shape[axis] < 2:
        raise LookupError
    moved = np.moveaxis(array.copy(), axis, 0)
    # The rest of a zero point is taken for zero: most formats are symmetric, and ONNX's unsigned ones centre on 128.
    centre = 128 if array.dtype == np.uint8 else 0
    moved[np.abs(moved.astype(np.float64) - centre).reshape(len(moved), -1).sum(1).argmax()] = centre
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis))


def stale_weights(array: np.ndarray, _axis: int | None) -> np.ndarray:
    """Weights of another training: the same values, elsewhere."""
    if array.size < 8:
        raise LookupError
    return np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape)


def one_nan(array: np.ndarray, _axis: int | None) -> np.ndarray:
    """One value that is not a number."""
    if array.dtype.kind != "f":
        raise LookupError
    changed = array.copy()
    changed.ravel()[changed.size // 2] = np.nan
    return changed


def wrong_scale(array: np.ndarray, _axis: int | None) -> np.ndarray:
    """Scales that are three times too large."""
    return (array * 3).astype(array.dtype)


def one_wrong_scale(array: np.ndarray, _axis: int | None) -> np.ndarray:
    """The scale of one channel, of several, three times too large."""
    if array.size < 2:
        raise LookupError
    changed = array.copy()
    changed.ravel()[0] *= 3
    return changed


def wrong_zero_point(array: np.ndarray, _axis: int | None) -> np.ndarray:
    """A zero point that is 100 steps off: who writes a tensor and who reads it agree, so a few change little."""
    limits = np.iinfo(array.dtype) if array.dtype.itemsize == 1 else np.iinfo(np.int8)
    moved = array.astype(np.int64)
    return np.where(moved + 100 <= limits.max, moved + 100, moved - 100).astype(array.dtype)


FAULTS: Mapping[str, tuple[Role | Literal["float"], Change]] = {
    "dead channel": ("weight", dead_channel),
    "stale weights": ("weight", stale_weights),
    "one NaN": ("float", one_nan),
    "wrong scale": ("scale", wrong_scale),
    "one wrong scale": ("scale", one_wrong_scale),
    "wrong zero point": ("zero_point", wrong_zero_point),
}
"""Fault to (what it is planted in, how)."""


def plantings(path: Path) -> Iterator[tuple[str, Constant]]:
    """Yields each fault with each constant of the artifact that can have it."""
    constants = _FORMATS[path.suffix].read(path)
    for name, (role, change) in FAULTS.items():
        for constant in constants:
            fits = constant.array.dtype.kind == "f" if role == "float" else constant.role == role
            if not fits:
                continue
            try:
                changed = change(constant.array, constant.axis)
            except LookupError:
                continue
            if not np.array_equal(changed, constant.array, equal_nan=False):
                yield name, constant


def plant(source: Path, target: Path, fault: str, constant: Constant) -> None:
    """Writes `source` with a fault in one of its constants to `target`."""
    changed = FAULTS[fault][1](constant.array, constant.axis)
    _FORMATS[source.suffix].write(source, target, constant, changed)


def swap_outputs(source: Path, target: Path) -> bool:
    """Writes `source` with two outputs of one shape and type exchanged; False where it has none."""
    return _FORMATS[source.suffix].swap(source, target)


# TFLite: the flatbuffer as objects, packed again.


def _tflite(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))


def _pack(model: Any, target: Path) -> None:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    target.write_bytes(bytes(builder.Output()))


_TFLITE_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 9: np.int8, 3: np.uint8, 17: np.uint8}
"""TFLite's types; 4-bit weights (17) are packed bytes."""
_TFLITE_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def _read_tflite(path: Path) -> list[Constant]:
    from ai_edge_litert import schema_py_generated as schema

    model = _tflite(path)
    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    found: dict[Any, Constant] = {}
    for graph_index, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            for place, index in enumerate(operator.inputs):
                for constant in _of_tensor(model, graph_index, int(index), kind, place):
                    found.setdefault(constant.key, constant)
    return list(found.values())


def _of_tensor(model: Any, graph_index: int, index: int, kind: str, place: int) -> Iterator[Constant]:
    """Yields the stored values of a tensor, and its grid."""
    if index < 0:
        return
    tensor = model.subgraphs[graph_index].tensors[index]
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)
    data = model.buffers[tensor.buffer].data
    if data is not None and len(data) and tensor.type in _TFLITE_TYPES and tensor.shape is not None:
        array = np.frombuffer(bytes(data), _TFLITE_TYPES[tensor.type])
        whole = array.size == np.prod(tensor.shape)
        array = array.reshape(tensor.shape) if whole else array
        role = _tflite_role(kind, place, array)
        if role:
            axis = (3 if array.ndim == 4 and len(array) == 1 else 0) if role == "weight" and whole else None
            key = ("buffer", tensor.buffer)
            yield Constant(name=name, role=role, array=array, axis=axis, key=key)
    grid = tensor.quantization
    if grid is not None and grid.scale is not None and len(grid.scale) and tensor.type != 2:
        key = (graph_index, index)
        yield Constant(name=name, role="scale", array=np.asarray(grid.scale, np.float32), key=("scale", *key))
        if len(grid.zeroPoint) == 1 and (data is None or not len(data)):
            points = np.asarray(grid.zeroPoint, np.int64).astype(np.int8)
            yield Constant(name=name, role="zero_point", array=points, key=("zeroPoint", *key))


def _tflite_role(kind: str, place: int, array: np.ndarray) -> Role | None:
    if array.dtype == np.int32:
        return "bias" if kind in _TFLITE_WEIGHTS and place == 2 else None
    if array.ndim == 1 and array.dtype.kind == "f":
        return "bias"
    return "weight" if array.size > 1 else None


def _write_tflite(source: Path, target: Path, constant: Constant, changed: np.ndarray) -> None:
    model = _tflite(source)
    if constant.key[0] == "buffer":
        model.buffers[constant.key[1]].data = np.frombuffer(changed.tobytes(), np.uint8)
    else:
        kind, graph_index, index = constant.key
        tensors = model.subgraphs[graph_index].tensors
        before = getattr(tensors[index].quantization, kind)
        for tensor in tensors:
            # Tensors that only move values about have the grid of what they move, or the interpreter refuses the file.
            grid = getattr(tensor.quantization, kind, None)
            if grid is not None and np.array_equal(grid, before):
                setattr(tensor.quantization, kind, changed.astype(np.asarray(before).dtype))
    _pack(model, target)


def _swap_tflite(source: Path, target: Path) -> bool:
    model = _tflite(source)
    graph = model.subgraphs[0]
    kinds = [(tuple(graph.tensors[i].shape), graph.tensors[i].type) for i in graph.outputs]
    pair = _alike(kinds)
    if pair is None:
        return False
    first, second = (int(graph.outputs[i]) for i in pair)
    other = {first: second, second: first}
    graph.outputs = [other.get(int(i), int(i)) for i in graph.outputs]
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = other.get(output.tensorIndex, output.tensorIndex)
    _pack(model, target)
    return True


def _alike(kinds: list[Any]) -> tuple[int, int] | None:
    """Returns the first two places with the same entry."""
    pairs = ((i, k) for i in range(len(kinds)) for k in range(i + 1, len(kinds)) if kinds[i] == kinds[k])
    return next(pairs, None)


# ONNX: initializers, by who reads them.

_ONNX_ROLES: Mapping[str, Mapping[int, Role]] = {
    "QuantizeLinear": {1: "scale", 2: "zero_point"},
    "DequantizeLinear": {0: "weight", 1: "scale", 2: "zero_point"},
    "MatMulNBits": {1: "weight", 2: "scale"},
    "Conv": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {1: "weight"},
    "Add": {1: "bias", 0: "bias"},
    "MatMulInteger": {1: "weight"},
    "ConvInteger": {1: "weight"},
    "Mul": {1: "scale", 0: "scale"},
    "GRU": {1: "weight", 2: "weight", 3: "bias"},
    "LSTM": {1: "weight", 2: "weight", 3: "bias"},
    "Gather": {0: "weight"},
}


def _read_onnx(path: Path) -> list[Constant]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {item.name: item for item in graph.initializer}
    found: dict[str, Constant] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored and stored[node.input[0]].data_type == 6:
            continue  # a bias: its grid follows from the weight's
        for place, role in _ONNX_ROLES.get(node.op_type, {}).items():
            name = node.input[place] if place < len(node.input) else ""
            if name not in stored or stored[name].data_type in (7, 22):  # int64, int4
                continue
            array = numpy_helper.to_array(stored[name])
            is_vector = array.ndim < 2 or array.dtype == np.int32
            found_role: Role = "bias" if role == "weight" and is_vector else role
            axis = _onnx_axis(node, array) if found_role == "weight" else None
            if array.dtype.kind in "fiu" and not (role == "zero_point" and array.size > 1):
                found.setdefault(name, Constant(name=name, role=found_role, array=array, axis=axis, key=name))
    return list(found.values())


def _onnx_axis(node: Any, array: np.ndarray) -> int | None:
    if node.op_type in ("Conv", "ConvInteger"):
        return 0
    if node.op_type in ("MatMul", "MatMulInteger"):
        return array.ndim - 1
    attributes = {item.name: item.i for item in node.attribute}
    if node.op_type == "Gemm":
        return 0 if attributes.get("transB") else 1
    # A dequantized weight has the axis that its scales run along.
    return attributes.get("axis", 1) if node.op_type == "DequantizeLinear" and array.ndim > 1 else None


def _write_onnx(source: Path, target: Path, constant: Constant, changed: np.ndarray) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    (item,) = [item for item in model.graph.initializer if item.name == constant.key]
    item.CopyFrom(numpy_helper.from_array(changed, constant.key))
    onnx.save(model, str(target))


def _swap_onnx(source: Path, target: Path) -> bool:
    import onnx

    model = onnx.load(str(source))
    outputs = list(model.graph.output)
    pair = _alike([item.type.SerializeToString() for item in outputs])
    if pair is None:
        return False
    names = [outputs[i].name for i in pair]
    other = {names[0]: names[1], names[1]: names[0]}
    for node in model.graph.node:
        for places in (node.output, node.input):
            places[:] = [other.get(name, name) for name in places]
    onnx.save(model, str(target))
    return True


# ExecuTorch: constants of XNNPACK's graphs, patched where they lie.

_XNN_TYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8, "int4": np.uint8, "int32": np.int32}


def _read_pte(path: Path) -> list[Constant]:
    from executorch.exir._serialize._program import deserialize_pte_binary

    from edgekit.validators.runners.executorch_session import Table

    content = path.read_bytes()
    named = deserialize_pte_binary(content).named_data
    buffers = {key: named.buffers[entry.buffer_index] for key, entry in named.pte_data.items()} if named else {}
    found: list[Constant] = []
    program = Table.root(content)
    for plan in program.tables(1):
        for delegate in plan.tables(7):
            if delegate.text(0) == "XnnpackBackend":
                found += _of_graph(content, program, delegate, buffers)
    return found


def _of_graph(content: bytes, program: Any, delegate: Any, buffers: Mapping[str, bytes]) -> Iterator[Constant]:
    from edgekit.validators.runners.executorch_session import XNN_DTYPES, Table

    place = delegate.table(1)
    base = struct.unpack_from("<Q", content, 24)[0]
    start = base + program.tables(4)[place.number(1, "<I")].number(0, "<Q")
    if not place.number(0, "<b"):
        start = program.tables(3)[place.number(1, "<I")].extent(0)[0]
    header = content[start + 4 : start + 8] == b"XH00"
    graph = Table.root(content, start + (struct.unpack_from("<I", content, start + 10)[0] if header else 0))
    data = struct.unpack_from("<Q", content, start + 18)[0] if header else 0
    stored = graph.tables(8)
    weights = _xnn_weights(graph)

    def offset(index: int) -> tuple[int, int]:
        entry = stored[index]
        key, size = entry.text(2), entry.number(1, "<Q")
        if key:
            return content.index(buffers[key]), len(buffers[key])
        return start + data + entry.number(0, "<Q"), size

    for item in graph.tables(2):
        value, grid, kind = item.table(1), None, 0
        if item.number(0, "<B") == 2:
            kind, grid, value = value.number(1, "<B"), value.table(2), value.table(0)
        dtype, shape = XNN_DTYPES.get(value.number(0, "<h"), ""), value.numbers(2, "I")
        name = f"value {value.number(6, '<I')}"
        index = value.number(3, "<I")
        if index and dtype in _XNN_TYPES:
            at, size = offset(index)
            array = np.frombuffer(content, _XNN_TYPES[dtype], size // np.dtype(_XNN_TYPES[dtype]).itemsize, at)
            whole = array.size == np.prod(shape)
            array = array.reshape(shape) if whole else array
            is_weight = len(shape) > 1
            axis = weights.get(value.number(6, "<I")) if whole else None
            yield Constant(name=name, role="weight" if is_weight else "bias", array=array, axis=axis, key=at)
        if grid is not None and dtype != "int32":
            yield from _of_xnn_grid(content, grid, kind, name, offset)


def _of_xnn_grid(content: bytes, grid: Any, kind: int, name: str, offset: Any) -> Iterator[Constant]:
    if kind == 2:
        scale, point = grid._field(0), grid._field(1)  # noqa: SLF001  where it lies
        yield Constant(name=name, role="scale", array=np.frombuffer(content, np.float32, 1, scale), key=scale)
        if point:
            yield Constant(name=name, role="zero_point", array=np.frombuffer(content, np.int32, 1, point), key=point)
    elif kind in (1, 4):
        at, count = grid.extent(0)
        dtype: Any = np.float32
        if not count:
            at, size = offset(grid.number(2 if kind == 1 else 4, "<I"))
            count = grid.number(3 if kind == 1 else 5, "<I")
            dtype = np.float32 if size >= 4 * count else np.uint16
        if dtype == np.float32:
            yield Constant(name=name, role="scale", array=np.frombuffer(content, dtype, count, at), key=at)


def _xnn_weights(graph: Any) -> dict[int, int]:
    """Returns the id of each weight and the axis of its output channels."""
    from edgekit.validators.runners.executorch_session import XNN_NODES, XNN_PRODUCTS

    found = {}
    for item in graph.tables(1):
        kind, node = XNN_NODES[item.number(0, "<B")], item.table(1)
        if kind in XNN_PRODUCTS:
            found[node.number(XNN_PRODUCTS[kind][1], "<I")] = 3 if kind == "DepthwiseConv2d" else 0
    return found


def _write_pte(source: Path, target: Path, constant: Constant, changed: np.ndarray) -> None:
    content = bytearray(source.read_bytes())
    content[constant.key : constant.key + changed.nbytes] = changed.tobytes()
    target.write_bytes(content)


def _swap_pte(source: Path, target: Path) -> bool:
    from executorch.exir._serialize._program import deserialize_pte_binary

    from edgekit.validators.runners.executorch_session import Table

    content = bytearray(source.read_bytes())
    deserialize_pte_binary(bytes(content))
    plan = next(plan for plan in Table.root(bytes(content)).tables(1) if plan.text(0) == "forward")
    values, outputs = plan.tables(2), plan.numbers(4)
    tensors = [values[i].table(1) for i in outputs]
    pair = _alike([(tuple(x.numbers(2)), x.number(0, "<b")) if x is not None else object() for x in tensors])
    if pair is None:
        return False
    start, _ = plan.extent(4)
    for i, k in (pair, pair[::-1]):
        struct.pack_into("<i", content, start + 4 * i, outputs[k])
    target.write_bytes(content)
    return True


# Core ML: the weight file's blobs, and constants in the program itself.

_COREML_ROLES: Mapping[str, Role] = {
    "weight": "weight",
    "weight_ih": "weight",
    "weight_hh": "weight",
    "bias": "bias",
    "scale": "scale",
    "zero_point": "zero_point",
    "data": "weight",
    "quantized_data": "weight",
    "indices": "weight",
}
_COREML_TYPES = {10: np.float16, 11: np.float32, 21: np.int8, 31: np.uint8, 25: np.uint8, 35: np.uint8}
"""MIL's types; 4-bit ones are packed bytes."""


def _specification(folder: Path) -> tuple[Path, Any]:
    from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

    path = next(folder.rglob("*.mlmodel"))
    spec = protobuf_classes().model.Model()
    spec.ParseFromString(path.read_bytes())
    return path, spec


def _blocks(spec: Any) -> Iterator[Any]:
    for function in spec.mlProgram.functions.values():
        yield from function.block_specializations.values()


def _values(spec: Any) -> Iterator[tuple[str, str, str, Any]]:
    """Yields (constant, type of the operation that reads it, its argument, the value) of each that is stored."""
    for block in _blocks(spec):
        constants = {op.outputs[0].name: op.attributes["val"] for op in block.operations if op.type == "const"}
        for op in block.operations:
            for argument, bound in op.inputs.items():
                for binding in bound.arguments:
                    if binding.WhichOneof("binding") == "value":
                        yield f"{op.outputs[0].name}.{argument}", op.type, argument, binding.value
                    elif binding.name in constants:
                        yield binding.name, op.type, argument, constants[binding.name]
            if op.type.startswith("constexpr"):
                for argument in op.attributes:
                    yield f"{op.outputs[0].name}.{argument}", op.type, argument, op.attributes[argument]


def _read_coreml(path: Path) -> list[Constant]:
    _, spec = _specification(path)
    weights = next(path.rglob("weight.bin"), None)
    content = weights.read_bytes() if weights else b""
    found: dict[Any, Constant] = {}
    for name, kind, argument, value in _values(spec):
        role = _COREML_ROLES.get(argument)
        tensor = value.type.tensorType
        dtype = _COREML_TYPES.get(tensor.dataType)
        if role is None or dtype is None or (kind == "gather" and argument == "indices"):
            continue
        shape = [dimension.constant.size for dimension in tensor.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            _, _, size, at = struct.unpack_from("<IIQQ", content, value.blobFileValue.offset)
            array, key = np.frombuffer(content, dtype, size // np.dtype(dtype).itemsize, at), ("blob", at)
        else:
            stored = value.immediateValue.tensor
            packed = stored.WhichOneof("value")
            raw = stored.bytes.values if packed == "bytes" else np.asarray(stored.floats.values, np.float32).tobytes()
            array, key = np.frombuffer(raw, dtype if packed == "bytes" else np.float32), ("value", name)
        whole = array.size == np.prod(shape)
        array = array.reshape(shape) if whole else array
        axis = 0 if whole and role == "weight" and array.ndim > 1 else None
        if array.size:
            found.setdefault(key, Constant(name=name, role=role, array=array, axis=axis, key=key))
    return list(found.values())


def _write_coreml(source: Path, target: Path, constant: Constant, changed: np.ndarray) -> None:
    shutil.copytree(source, target)
    kind, place = constant.key
    if kind == "blob":
        path = next(target.rglob("weight.bin"))
        content = bytearray(path.read_bytes())
        content[place : place + changed.nbytes] = changed.tobytes()
        path.write_bytes(content)
        return
    path, spec = _specification(target)
    for name, _, _, value in _values(spec):
        if name == place:
            stored = value.immediateValue.tensor
            if stored.WhichOneof("value") == "bytes":
                stored.bytes.values = changed.tobytes()
            else:
                stored.floats.values[:] = changed.ravel().tolist()
    path.write_bytes(spec.SerializeToString())


def _swap_coreml(source: Path, target: Path) -> bool:
    shutil.copytree(source, target)
    path, spec = _specification(target)
    described = list(spec.description.output)
    pair = _alike([item.type.SerializeToString() for item in described])
    if pair is None:
        return False
    names = [described[i].name for i in pair]
    other = {names[0]: names[1], names[1]: names[0]}
    for block in _blocks(spec):
        for op in block.operations:
            for output in op.outputs:
                output.name = other.get(output.name, output.name)
            for bound in op.inputs.values():
                for binding in bound.arguments:
                    if binding.WhichOneof("binding") == "name":
                        binding.name = other.get(binding.name, binding.name)
    path.write_bytes(spec.SerializeToString())
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    read: Callable[[Path], list[Constant]]
    write: Callable[[Path, Path, Constant, np.ndarray], None]
    swap: Callable[[Path, Path], bool]


_FORMATS: Mapping[str, _Format] = {
    ".tflite": _Format(read=_read_tflite, write=_write_tflite, swap=_swap_tflite),
    ".onnx": _Format(read=_read_onnx, write=_write_onnx, swap=_swap_onnx),
    ".pte": _Format(read=_read_pte, write=_write_pte, swap=_swap_pte),
    ".mlpackage": _Format(read=_read_coreml, write=_write_coreml, swap=_swap_coreml),
}
