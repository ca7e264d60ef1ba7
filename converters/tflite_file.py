"""Reading and editing a TFLite flatbuffer: names, signature, metadata, operator counts.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast, final

from edgekit.analysis.tflite_protocols import (
    TFLiteBuffer,
    TFLiteEntry,
    TFLiteGraph,
    TFLiteMetadata,
    TFLiteModel,
    TFLiteOperator,
    TFLiteSignature,
    TFLiteTensor,
)
from edgekit.model import ArtifactState, TensorSpec, boundary_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METADATA_NAME: Final = "edgekit"
"""Name of the file's metadata entry; its content is JSON with the keys `io` and `metadata`."""

SIGNATURE: Final = "serving_default"
"""Name of the one signature that an artifact has."""


_GRAPH_BYTES: Final = 1 << 20
"""Room for all that is no constant, at first."""

_LARGEST_BYTES: Final = (1 << 31) - 1
"""What a flatbuffer may hold."""

_ALIGNMENT: Final = 16  # of constants in the file, as the schema asks: kernels read them in place with vector loads


def read(content: bytes) -> TFLiteModel:
    """Returns the flatbuffer as a mutable ModelT. Constants that lie behind the flatbuffer are taken in."""
    import numpy as np
    from ai_edge_litert.tools import flatbuffer_utils

    model = cast("TFLiteModel", flatbuffer_utils.read_model_from_bytearray(bytearray(content)))
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, dtype=np.uint8)  # a view: weights are not copied once more
    return model


def write(model: TFLiteModel) -> bytes:
    """Returns the bytes of a ModelT, all constants inside the flatbuffer, where the oldest runtimes look for them."""
    import flatbuffers  # type: ignore[import-untyped]  # it ships no types

    buffers = model.buffers
    # A builder that is too small doubles itself, and copies all weights each time.
    weights = sum(0 if buffer.data is None else len(buffer.data) + _ALIGNMENT for buffer in buffers)
    builder = flatbuffers.Builder(min(weights + _GRAPH_BYTES, _LARGEST_BYTES))
    model.buffers = cast("list[TFLiteBuffer]", [_PackedBuffer(buffer.data) for buffer in buffers])
    try:
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    finally:
        model.buffers = buffers
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


@final
class _PackedBuffer:
    """Stands in for a BufferT while packing: the generated code ignores the schema's alignment."""

    def __init__(self, data: NDArray[np.uint8] | None) -> None:
        held: Any = b"" if data is None else data  # NumPy's stubs do not call an array a buffer
        self._data = memoryview(held).cast("B")

    def Pack(self, builder: Any) -> int:  # noqa: N802  the name that the generated code calls
        from ai_edge_litert import schema_py_generated as schema

        offset = 0
        if self._data:
            builder.StartVector(1, len(self._data), _ALIGNMENT)
            builder.head -= len(self._data)
            builder.Bytes[builder.head : builder.head + len(self._data)] = self._data
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset:
            schema.BufferAddData(builder, offset)
        packed: int = schema.BufferEnd(builder)
        return packed


def text(name: bytes | str | None) -> str:
    """Returns a flatbuffer string, which is bytes or str."""
    return name.decode() if isinstance(name, bytes) else str(name)


def operators(model: TFLiteModel) -> Iterator[tuple[TFLiteGraph, TFLiteOperator, str]]:
    """Yields (subgraph, operator, its builtin name such as CONV_2D)."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            yield graph, operator, names[max(code.builtinCode, code.deprecatedBuiltinCode)]


def operator_counts(model: TFLiteModel) -> dict[str, int]:
    """Returns how often each operator occurs."""
    return dict(sorted(Counter(kind for _, _, kind in operators(model)).items()))


def has_data(model: TFLiteModel, tensor: TFLiteTensor) -> bool:
    """Returns whether a tensor is a constant."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def constant(model: TFLiteModel, tensor: TFLiteTensor) -> NDArray[np.float32] | None:
    """Returns the values of a constant float32 tensor, or None for any other."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    if not has_data(model, tensor) or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(bytes(cast("NDArray[np.uint8]", model.buffers[tensor.buffer].data)), dtype=np.float32).reshape(
        tensor.shape
    )


def add_constant(model: TFLiteModel, graph: TFLiteGraph, name: str, values: NDArray[Any]) -> int:
    """Appends a constant tensor, float32 or int32, and returns its index in the subgraph."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    buffer = cast("TFLiteBuffer", schema.BufferT())
    buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    types = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
    return add_tensor(graph, name, values.shape, types[values.dtype.name], len(model.buffers) - 1)


def separate_outputs(model: TFLiteModel) -> None:
    """Gives every float output a tensor of its own, which no operator reads, behind a reshape that changes nothing.

    ai-edge-quantizer dequantizes an output for all of its readers: an operator that reads it as well would become half
    integer, half float, and refuse to run.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    read = {int(i) for operator in graph.operators for i in operator.inputs} | {int(i) for i in graph.inputs}
    outputs: list[int] = []
    for index in map(int, graph.outputs):
        source = graph.tensors[index]
        if (index in read or index in outputs) and source.type == schema.TensorType.FLOAT32:
            name = f"{text(source.name)}_output_{len(outputs)}"
            shape = add_constant(model, graph, f"{name}/shape", np.array(source.shape, dtype=np.int32))
            outputs.append(add_tensor(graph, name, source.shape, source.type, 0))
            sizes = [int(n) for n in source.shape]
            graph.operators.append(
                new_operator(model, "RESHAPE", [index, shape], outputs[-1], "ReshapeOptions", newShape=sizes)
            )
        else:
            outputs.append(index)
    graph.outputs = outputs


def add_tensor(graph: TFLiteGraph, name: str, shape: Sequence[int], kind: int, buffer: int) -> int:
    """Appends a tensor and returns its index in the subgraph."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = cast("TFLiteTensor", schema.TensorT())
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [int(n) for n in shape], kind, buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def new_operator(
    model: TFLiteModel, kind: str, inputs: list[int], output: int, options: str, **settings: Any
) -> TFLiteOperator:
    """Returns an operator that is in no graph yet.

    Args:
        model: ModelT; gets the operator's code where it has none.
        kind: Builtin name: RESHAPE.
        inputs: Indices of the tensors that it reads.
        output: Index of the tensor that it writes.
        options: Class of its options in the schema: ReshapeOptions.
        settings: Its options' fields.
    """
    from ai_edge_litert import schema_py_generated as schema

    wanted = int(getattr(schema.BuiltinOperator, kind))
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    if wanted not in codes:
        code: Any = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = wanted
        code.version = 1
        model.operatorCodes.append(code)
        codes.append(wanted)
    operator = cast("TFLiteOperator", schema.OperatorT())
    operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(wanted), inputs, [output]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
    operator.builtinOptions = getattr(schema, f"{options}T")()
    for name, value in settings.items():
        setattr(operator.builtinOptions, name, value)
    return operator


def drop_unused_tensors(model: TFLiteModel) -> None:
    """Removes tensors that nothing reads or writes, and the constants that no subgraph reads any more."""
    read: set[int] = {int(entry.buffer) for entry in model.metadata or ()}
    dropped: set[int] = set()
    for k, graph in enumerate(model.subgraphs):
        kept = _touched_tensors(graph)
        read |= {graph.tensors[i].buffer for i in kept}
        dropped |= {tensor.buffer for i, tensor in enumerate(graph.tensors) if i not in kept}
        position = {old: new for new, old in enumerate(sorted(kept))}
        position[-1] = -1  # an optional input that is not given
        graph.tensors = [graph.tensors[i] for i in sorted(kept)]
        _renumber(graph, position)
        for signature in model.signatureDefs or ():
            for entry in (*signature.inputs, *signature.outputs):
                if signature.subgraphIndex == k:
                    entry.tensorIndex = position[int(entry.tensorIndex)]
    # Only now: a constant that one subgraph has dropped may be another's, which comes later.
    for buffer in dropped - read:
        model.buffers[buffer].data = None


def _touched_tensors(graph: TFLiteGraph) -> set[int]:
    """Returns the indices of the tensors that an operator or the boundary reads or writes."""
    touched = [int(i) for i in (*graph.inputs, *graph.outputs)]
    touched += [int(i) for operator in graph.operators or () for i in (*operator.inputs, *operator.outputs)]
    touched += [int(i) for operator in graph.operators or () for i in operator.intermediates or ()]
    return {i for i in touched if i >= 0}


def _renumber(graph: TFLiteGraph, position: Mapping[int, int]) -> None:
    """Writes new indices of tensors wherever the subgraph names one."""
    graph.inputs = [position[int(i)] for i in graph.inputs]
    graph.outputs = [position[int(i)] for i in graph.outputs]
    for operator in graph.operators or ():
        operator.inputs = [position[int(i)] for i in operator.inputs]
        operator.outputs = [position[int(i)] for i in operator.outputs]
        if operator.intermediates is not None:
            operator.intermediates = [position[int(i)] for i in operator.intermediates]


def name_boundary(model: TFLiteModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Gives the model's inputs and outputs these names, in this order, as tensors and in its signature.

    The present order of the subgraph's inputs and outputs must be the wanted one (see `order_boundary`).
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    signature = model.signatureDefs[0] if model.signatureDefs else cast("TFLiteSignature", schema.SignatureDefT())
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    _name_tensors(graph, graph.inputs, inputs)
    _name_tensors(graph, graph.outputs, outputs)
    signature.inputs = _signature_entries(graph.inputs, inputs)
    signature.outputs = _signature_entries(graph.outputs, outputs)
    model.signatureDefs = [signature]


def order_boundary(model: TFLiteModel, inputs: Sequence[int], outputs: Sequence[int]) -> None:
    """Orders the model's inputs and outputs: the i-th becomes the tensor with the i-th of these indices."""
    import numpy as np

    graph = model.subgraphs[0]
    graph.inputs = np.array(inputs, dtype=np.int32)
    graph.outputs = np.array(outputs, dtype=np.int32)


def io_signature(model: TFLiteModel, indices: Iterable[int], wanted: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Returns the specs of inputs or outputs as the file has them; the layouts are taken from `wanted`."""
    from ai_edge_litert import schema_py_generated as schema

    graph: TFLiteGraph = model.subgraphs[0]
    dtypes = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    specs: list[TensorSpec] = []
    for index, spec in zip(indices, wanted, strict=True):
        tensor: TFLiteTensor = graph.tensors[index]
        scales = _listed(getattr(tensor.quantization, "scale", None))
        zero_points = _listed(getattr(tensor.quantization, "zeroPoint", None))
        specs.append(
            TensorSpec(
                name=text(tensor.name),
                shape=tuple(int(n) for n in (tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)),
                dtype=dtypes[tensor.type],
                layout=spec.layout,
                axes=spec.axes,
                largest=spec.largest,
                scale=float(scales[0]) if len(scales) == 1 else None,
                zero_point=int(zero_points[0]) if len(scales) == 1 else None,
            )
        )
    return tuple(specs)


def _listed(values: Iterable[float] | None) -> list[float]:
    """Returns a flatbuffer vector as a list; a vector that is not there is empty."""
    return [] if values is None else list(values)


def embed(
    model: TFLiteModel,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
    states: Sequence[ArtifactState] = (),
) -> None:
    """Writes inputs, outputs, states and metadata into the file as JSON."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    content = {
        "io": boundary_json(inputs, outputs, states),
        "metadata": dict(sorted(metadata.items())),
    }
    buffer = cast("TFLiteBuffer", schema.BufferT())
    buffer.data = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    model.buffers.append(buffer)
    entry = cast("TFLiteMetadata", schema.MetadataT())
    entry.name = METADATA_NAME
    entry.buffer = len(model.buffers) - 1
    kept = [old for old in model.metadata or () if text(old.name) != METADATA_NAME]
    model.metadata = [*kept, entry]


def embedded(content: bytes) -> dict[str, Any]:
    """Returns what `embed` wrote into a file; empty for a file without it."""
    model = read(content)
    for entry in model.metadata or ():
        if text(entry.name) == METADATA_NAME:
            found: dict[str, Any] = json.loads(bytes(cast("NDArray[np.uint8]", model.buffers[entry.buffer].data)))
            return found
    return {}


def _name_tensors(graph: TFLiteGraph, indices: Iterable[int], names: Sequence[str]) -> None:
    for index, name in zip(indices, names, strict=True):
        for i, tensor in enumerate(graph.tensors):
            if i != index and text(tensor.name) == name:
                tensor.name = f"{name}_inner"
        graph.tensors[index].name = name


def _signature_entries(indices: Iterable[int], names: Sequence[str]) -> list[TFLiteEntry]:
    from ai_edge_litert import schema_py_generated as schema

    entries: list[TFLiteEntry] = []
    for index, name in zip(indices, names, strict=True):
        entry = cast("TFLiteEntry", schema.TensorMapT())
        entry.name = name
        entry.tensorIndex = int(index)
        entries.append(entry)
    return entries
