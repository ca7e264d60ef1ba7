"""The graph of a TFLite flatbuffer. Runs in a worker process; the schema that ai-edge-litert ships is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast, final

from edgekit.analysis.graph import Analysis, KernelClass, WeightRole, elements
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.graph_damage import damage_named
from edgekit.analysis.operator_costs import (
    conv_attributes,
    conv_kernel,
    conv_macs,
    matmul_macs,
    recurrent_macs,
)
from edgekit.analysis.tflite_protocols import TFLiteBuffer, TFLiteModel, TFLiteOperator, TFLiteTensor
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIASES: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO"})
_NORMS: Final = ("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", "CUMSUM")
_POOLS: Final = (
    "MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "ARG_MAX",
    "ARG_MIN", "TOPK_V2", "REDUCE_ANY", "REDUCE_ALL",
)  # fmt: skip
_MOVES: Final = (
    "TRANSPOSE", "CONCATENATION", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "PACK",
    "UNPACK",
    "GATHER", "GATHER_ND", "SCATTER_ND", "TILE", "REVERSE_V2", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "ONE_HOT", "FILL", "SHAPE", "CAST", "SELECT",
    "DYNAMIC_UPDATE_SLICE",
)  # fmt: skip
_ACTIVATIONS: Final[Mapping[int, str]] = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
_LSTMS: Final = (
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "RNN",
)

Roles = dict[str, tuple[WeightRole, "int | None"]]
OperatorCost = tuple[KernelClass, int, Roles, Mapping[str, int]]


def read_flatbuffer_file(path: Path) -> Analysis:
    """Returns the analysis of a TFLite file.

    Raises:
        ModelError: not a TFLite flatbuffer.
    """
    return read_flatbuffer(path.read_bytes(), str(path))


def read_flatbuffer_precisions(
    path: Path, sizes: Mapping[str, Sequence[int]], signature: str = ""
) -> tuple[Analysis, dict[str, str]]:
    """Returns the analysis of a TFLite file, and operator name to the precision that it computes in.

    Args:
        path: The file.
        sizes: Not used: the file has the sizes that it was made with.
        signature: Which of its functions, where it has several.

    Raises:
        ModelError: not a TFLite flatbuffer.
    """
    del sizes
    return read_tflite_file(path.read_bytes(), str(path), signature)


def read_flatbuffer(content: bytes, origin: str) -> Analysis:
    """Returns the analysis of a TFLite file's bytes.

    Args:
        content: The file.
        origin: Its name, for messages.

    Raises:
        ModelError: not a TFLite flatbuffer.
    """
    return read_tflite_file(content, origin)[0]


def read_tflite_file(content: bytes, origin: str, signature: str = "") -> tuple[Analysis, dict[str, str]]:
    """Returns the analysis of a TFLite file's bytes, and operator name to the precision that it computes in.

    Args:
        content: The file.
        origin: Its name, for messages.
        signature: Which of its functions, where it has several.

    Raises:
        ModelError: not a TFLite flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ModelError(f"{origin}: not a TFLite file: bytes 4 to 8 are {content[4:8]!r}; expected b'TFL3'.")
    try:
        model = cast("TFLiteModel", schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)))
    except Exception as error:  # the flatbuffer reader fails with whatever the broken offset led to
        raise ModelError(f"{origin}: the TFLite file is damaged: {error}. Expected a complete flatbuffer.") from error
    with damage_named(origin):
        reader = _Reader(model, schema, content, _graph_of(model, signature))
        return reader.read(), reader.precisions


def _graph_of(model: TFLiteModel, signature: str) -> int:
    """Returns the number of a signature's subgraph; the first one where none is named."""
    keys = ((item.signatureKey, item.subgraphIndex) for item in model.signatureDefs or ())
    named = {key.decode() if isinstance(key, bytes) else key: graph for key, graph in keys}
    return named.get(signature, 0)


@final
class _Reader:
    """Walks one subgraph of a model. Tensors are named by their index, because names may repeat."""

    def __init__(self, model: TFLiteModel, schema: ModuleType, content: bytes, graph: int) -> None:
        self._model = model
        self._schema = schema
        self._content = content
        self._graph = model.subgraphs[graph]
        self._signatures = {item.subgraphIndex for item in model.signatureDefs or ()}
        self._builder = GraphBuilder()
        self.precisions: dict[str, str] = {}
        self._names = self._unique_names()
        self._types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
        self._kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}

    def read(self) -> Analysis:
        """Returns the analysis."""
        if len(self._model.subgraphs) > max(1, len(self._signatures)):
            self._builder.note("Only the main subgraph is analysed; bodies of loops and branches are not.")
        for index, tensor in enumerate(self._graph.tensors):
            self._declare(index, tensor)
        for index, operator in enumerate(self._graph.operators):
            self._add(index, operator)
        name = self._names
        return self._builder.finish([name[i] for i in self._graph.inputs], [name[i] for i in self._graph.outputs])

    def _unique_names(self) -> list[str]:
        names: list[str] = []
        seen: set[str] = set()
        for index, tensor in enumerate(self._graph.tensors):
            name = (cast("bytes | None", tensor.name) or b"").decode(errors="replace")
            names.append(name if name and name not in seen else f"{name}#{index}")
            seen.add(name)
        return names

    def _declare(self, index: int, tensor: TFLiteTensor) -> None:
        dtype = self._types.get(tensor.type, "FLOAT32").lower()
        sizes = cast("Sequence[int] | None", tensor.shape)
        shape = [] if sizes is None else [max(1, int(size)) for size in sizes]
        buffer = self._model.buffers[tensor.buffer]
        has_data = buffer.data is not None and len(buffer.data) > 0
        if has_data or buffer.offset > 1:
            self._builder.store(self._names[index], shape, dtype, lambda: self._values(buffer, shape, dtype))
        else:
            self._builder.tensor(self._names[index], shape, dtype)

    def _values(self, buffer: TFLiteBuffer, shape: Sequence[int], dtype: str) -> NDArray[Any]:
        import numpy as np

        # Files over 2 GB, and those that some converters write, keep buffers behind the flatbuffer.
        data: NDArray[Any] | None = buffer.data
        raw = (
            bytes(data)
            if data is not None and len(data) > 0
            else self._content[buffer.offset : buffer.offset + buffer.size]
        )
        numpy_type = {"int4": "uint8", "uint4": "uint8", "int2": "uint8", "bfloat16": "uint16"}.get(dtype, dtype)
        values = np.frombuffer(raw, dtype=numpy_type)
        return values.reshape(shape) if values.size == elements(tuple(shape)) else values

    def _add(self, index: int, operator: TFLiteOperator) -> None:
        code = self._model.operatorCodes[operator.opcodeIndex]
        kind = self._kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        if kind == "CUSTOM":
            kind = (code.customCode or b"CUSTOM").decode(errors="replace")
        reads = [self._names[i] for i in operator.inputs if i >= 0]
        outputs = [self._names[i] for i in operator.outputs if i >= 0]
        stored = [name for name in reads if self._builder.is_stored(name)]
        # A float16 file stores its weights behind DEQUANTIZE, a sparse one behind DENSIFY; runtimes unpack them once.
        if kind in _ALIASES or (kind in {"DEQUANTIZE", "TRANSPOSE", "DENSIFY"} and reads[:1] == stored[:1] != []):
            self._builder.alias(outputs[0], reads[0])
            return
        kernel, macs, roles, attributes = self._cost(kind, operator, reads, outputs)
        activation = _ACTIVATIONS.get(getattr(operator.builtinOptions, "fusedActivationFunction", 0) or 0)
        name = f"{kind}_{index}" if activation is None else f"{kind}_{index}+{activation}"
        self.precisions[name] = self._precision(reads)
        self._builder.add(
            name=name,
            type=kind,
            kernel=kernel,
            reads=reads,
            outputs=outputs,
            module=outputs[0] if outputs else "",
            macs=macs,
            roles=roles,
            attributes=attributes,
        )

    def _precision(self, reads: Sequence[str]) -> str:
        """Returns the precision of an operator, from the types of what it reads."""
        activations = {self._builder.dtype(name) for name in reads if not self._builder.is_stored(name)}
        stored = {self._builder.dtype(name) for name in reads if self._builder.is_stored(name)}
        if activations & {"int8", "uint8"}:
            return "int8_static"
        if "int16" in activations:
            return "w8a16"
        if stored & {"int4", "uint4", "int2"}:
            return "int4_weights"
        # A weight that is widened first is read under its own name; LiteRT's hybrid kernels read it as it is.
        if stored & {"int8", "uint8"}:
            widened = any(name != self._builder.resolve(name) for name in reads)
            return "int8_weights" if widened else "int8_dynamic"
        return "fp16" if "float16" in stored | activations else "fp32"

    def _cost(self, kind: str, operator: TFLiteOperator, reads: Sequence[str], outputs: Sequence[str]) -> OperatorCost:
        """Returns (kernel class, MACs, roles of the weights, attributes) of an operator."""
        made = self._builder.shape(outputs[0]) if outputs else ()
        if kind in {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D"}:
            return self._convolution(kind, operator, reads, made)
        if kind == "FULLY_CONNECTED":
            weight = reads[1]
            roles: Roles = {weight: ("kernel", self._builder.shape(weight)[0])}
            if len(reads) > 2:
                roles[reads[2]] = ("bias", None)
            kernel: KernelClass = "linear" if self._builder.is_stored(weight) else "attention_matmul"
            return (kernel, matmul_macs(made, self._builder.shape(weight)[-1]), roles, {})
        if kind == "BATCH_MATMUL":
            left = self._builder.shape(reads[0])
            macs = matmul_macs(made, left[-2 if operator.builtinOptions.adjX else -1])
            stored = next((name for name in reads[1::-1] if self._builder.is_stored(name)), None)
            if stored is None:
                return ("attention_matmul", macs, {}, {})
            return ("linear", macs, {stored: ("kernel", made[-1] if made else 1)}, {})
        if kind in _LSTMS:
            return self._recurrent(operator, reads)
        if kind in {"GATHER", "EMBEDDING_LOOKUP"}:
            table = next((n for n in reads if self._builder.is_stored(n) and len(self._builder.shape(n)) == 2), None)
            if table is not None:
                return ("embedding", 0, {table: ("table", self._builder.shape(table)[0])}, {})
        plain: KernelClass = (
            "normalization" if kind in _NORMS
            else "pooling" if kind in _POOLS
            else "data_movement" if kind in _MOVES
            else "elementwise"
        )  # fmt: skip
        return (plain, 0, {}, {})

    def _convolution(
        self, kind: str, operator: TFLiteOperator, reads: Sequence[str], made: Sequence[int]
    ) -> OperatorCost:
        """Filters are (out, h, w, in); depthwise ones (1, h, w, channels); all tensors are channels last."""
        transposed = kind == "TRANSPOSE_CONV"
        source, weight = (reads[2], reads[1]) if transposed else (reads[0], reads[1])
        seen, shape = self._builder.shape(source), self._builder.shape(weight)
        depthwise = kind == "DEPTHWISE_CONV_2D"
        size = shape[:3] if kind == "CONV_3D" else shape[1:3]
        per_group = 1 if depthwise else shape[-2] if kind == "CONV_3D" else shape[-1]
        groups = seen[-1] if depthwise else max(1, seen[-1] // per_group)
        roles: Roles = {weight: ("kernel", shape[-1] if depthwise or kind == "CONV_3D" else shape[0])}
        bias = reads[3:4] if transposed else reads[2:3]
        roles |= dict.fromkeys(bias, ("bias", None))
        options = operator.builtinOptions
        attributes = conv_attributes(size, [options.strideH, options.strideW], groups)
        # A transposed convolution spreads each input value over all output channels.
        macs = conv_macs(seen, size, shape[0]) if transposed else conv_macs(made, size, per_group)
        return (conv_kernel(size, groups, seen[-1]), macs, roles, attributes)

    def _recurrent(self, operator: TFLiteOperator, reads: Sequence[str]) -> OperatorCost:
        stored = [name for name in reads[1:] if self._builder.is_stored(name)]
        matrices = [name for name in stored if len(self._builder.shape(name)) == 2]
        roles: Roles = {name: ("recurrent", self._builder.shape(name)[0]) for name in matrices}
        roles |= {name: ("bias", None) for name in stored if name not in matrices}
        seen = self._builder.shape(reads[0])
        time_major = bool(getattr(operator.builtinOptions, "timeMajor", False))
        batch, steps = (seen[1], seen[0]) if time_major else (seen[0], seen[1])
        macs = recurrent_macs([self._builder.shape(name) for name in matrices], steps, batch)
        return ("recurrent", macs, roles, {"steps": steps})
