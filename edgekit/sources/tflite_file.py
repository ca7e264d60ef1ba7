"""The source `.tflite`: an artifact that exists already. It can be validated and gated, not converted again."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, final

from edgekit.analysis.graph_damage import damage_named
from edgekit.errors import ModelError
from edgekit.model import SourceKind, TensorSpec
from edgekit.sources.base import CaptureRequest, Signature, Source
from edgekit.sources.flatbuffer import Table
from edgekit.torch_program.architecture import Operation, judge
from edgekit.torch_program.digest import Digest
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.layout import guess_layout
from edgekit.workers.worker import Progress

_DTYPES: Final = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64"),
    *("complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4"),
)
"""TensorType by number, as in the schema."""

# BuiltinOperator numbers of the schema that cost multiply-accumulates or tell the family.
_CONV_2D, _DEPTHWISE, _FULLY_CONNECTED, _LSTM, _SOFTMAX, _EMBEDDING = 3, 4, 9, 16, 25, 7
_SEQUENCE_RNN, _GATHER, _SEQUENCE_LSTM, _BIDIRECTIONAL_LSTM, _TRANSPOSE_CONV = 35, 36, 44, 52, 67
_WHILE, _BATCH_MATMUL, _CONV_3D = 119, 126, 132


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor of the file: its spec, and the bytes of its data (empty for an activation)."""

    spec: TensorSpec
    data: memoryview


@final
class TFLiteFileSource(Source):
    """Reads the flatbuffer with nothing but the standard library."""

    kind: ClassVar[SourceKind] = "tflite"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite", ".lite")
    starts_with: ClassVar[Mapping[str, Signature]] = dict.fromkeys(suffixes, (4, b"TFL3", "a TFLite flatbuffer"))
    extra: ClassVar[str] = "tflite"
    needs: ClassVar[Mapping[str, str]] = {}

    def why_not(self, target: str) -> str | None:
        """None: quantization and fusing cannot be undone."""
        return (
            "a .tflite file is an artifact already: it can be checked (edgekit validate, edgekit gate), not "
            f"converted to {target}. Give the model that it was made from."
        )

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """The file is copied."""
        progress("reading the file", None)
        try:
            with damage_named(request.source):
                found = _describe(request.path.read_bytes())
        except StopIteration as error:
            raise ModelError(
                f"{request.source} holds no graph: it is damaged. Copy or convert the file again."
            ) from error
        shutil.copyfile(request.path, folder / found.file)
        return found


def _describe(data: bytes) -> Capture:
    model = Table.root(data)
    graph = next(model.tables(2))
    buffers = [_content(buffer, data) for buffer in model.tables(4)]
    tensors = [_tensor(table, buffers) for table in graph.tables(0)]
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    operators = [
        (codes[op.number(0, "I")], op.numbers(1, "i"), op.numbers(2, "i"))
        for one in model.tables(2)
        for op in one.tables(3)
    ]
    first = [(codes[op.number(0, "I")], op.numbers(1, "i"), op.numbers(2, "i")) for op in graph.tables(3)]
    weights = {id(t): math.prod(t.spec.shape) for t in tensors if len(t.data) and _is_weight(t.spec)}
    loops = any(code == _WHILE for code, _, _ in operators)
    found = [o for code, ins, outs in first if (o := _operation(code, ins, outs, tensors)) is not None]
    return Capture(
        kind="tflite",
        file="model.tflite",
        inputs=tuple(tensors[i].spec for i in graph.numbers(1, "i")),
        outputs=tuple(tensors[i].spec for i in graph.numbers(2, "i")),
        digest=_digest(first, tensors),
        parameters=sum(weights.values()),
        architecture=judge([*found, *([Operation(role="recurrent", macs=None)] if loops else [])]),
    )


def _content(buffer: Table, data: bytes) -> memoryview:
    """Returns a buffer's bytes; a file over 2 GB keeps them behind the flatbuffer, at an offset."""
    offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if offset > 1:
        if offset + size > len(data):
            raise IndexError(f"a buffer of {size} bytes at {offset} leaves the file of {len(data)} bytes")
        return memoryview(data)[offset : offset + size]
    return buffer.span(0)


def _tensor(table: Table, buffers: list[memoryview]) -> _Tensor:
    shape = table.numbers(0, "i")
    dtype = _DTYPES[table.number(1, "b")]
    quantization = table.table(4)
    scales: list[float] = [] if quantization is None else list(quantization.numbers(2, "f"))
    zeros: list[int] = [] if quantization is None else list(quantization.numbers(3, "q"))
    single = len(scales) == 1 and not dtype.startswith("float")
    spec = TensorSpec(
        name=table.text(3),
        shape=shape,
        dtype=dtype,
        layout=guess_layout(shape, dtype, "NHWC"),
        scale=scales[0] if single else None,
        zero_point=zeros[0] if single and zeros else None,
    )
    return _Tensor(spec=spec, data=buffers[table.number(2, "I")])


def _is_weight(spec: TensorSpec) -> bool:
    """Returns whether a constant is a weight, and not a shape or a list of axes: those are int32 or int64."""
    return spec.dtype not in ("int32", "int64", "bool", "string") or (spec.dtype == "int32" and spec.scale is not None)


def _operation(code: int, ins: tuple[int, ...], outs: tuple[int, ...], tensors: list[_Tensor]) -> Operation | None:
    def shape(index: int) -> tuple[int, ...]:
        return tensors[index].spec.shape

    if code in (_CONV_2D, _CONV_3D):
        # Weights: (C_out, k, k, C_in / groups); CONV_3D: (k, k, k, C_in, C_out).
        weight = shape(ins[1])
        taps = math.prod(weight[1:] if code == _CONV_2D else weight[:-1])
        return Operation(role="convolution", macs=math.prod(shape(outs[0])) * taps)
    if code == _DEPTHWISE:
        return Operation(role="depthwise", macs=math.prod(shape(outs[0])) * math.prod(shape(ins[1])[1:3]))
    if code == _TRANSPOSE_CONV:
        return Operation(role="convolution", macs=math.prod(shape(ins[2])) * math.prod(shape(ins[1])[:3]))
    if code == _FULLY_CONNECTED:
        constant = bool(len(tensors[ins[1]].data))
        macs = math.prod(shape(outs[0])) * shape(ins[1])[-1]
        return Operation(role="linear" if constant else "matmul", macs=macs)
    if code == _BATCH_MATMUL:
        # (..., m, k) x (..., k, n): every one of m k values meets n others, whichever operand is transposed.
        left, out = shape(ins[0]), shape(outs[0])
        inner = math.prod(left[-2:]) // out[-2]
        constant = bool(len(tensors[ins[1]].data))
        return Operation(role="linear" if constant else "matmul", macs=math.prod(out) * inner)
    if code in (_LSTM, _SEQUENCE_RNN, _SEQUENCE_LSTM, _BIDIRECTIONAL_LSTM):
        matrices = sum(math.prod(shape(i)) for i in ins if i >= 0 and len(tensors[i].data) and len(shape(i)) == 2)
        steps = math.prod(shape(ins[0])[:-1])
        return Operation(role="recurrent", macs=matrices * steps)
    if code == _SOFTMAX:
        return Operation(role="softmax")
    table = code == _EMBEDDING or (code == _GATHER and bool(len(tensors[ins[0]].data)) and len(shape(ins[0])) == 2)
    return Operation(role="embedding") if table else None


def _digest(operators: list[tuple[int, tuple[int, ...], tuple[int, ...]]], tensors: list[_Tensor]) -> str:
    hashed = Digest()
    for code, ins, outs in operators:
        hashed.add(code, ins, outs)
    for tensor in tensors:
        hashed.add(tensor.spec.dtype, tensor.spec.shape, tensor.spec.scale, tensor.spec.zero_point, bytes(tensor.data))
    return hashed.hexdigest()
