"""The graph of an ONNX file. Runs in a worker process; onnx is imported late.

Sizes that the file leaves open (a symbolic batch) are taken as 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.graph import Analysis, KernelClass, WeightRole
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.operator_costs import (
    conv_attributes,
    conv_kernel,
    conv_macs,
    einsum_macs,
    matmul_macs,
    recurrent_macs,
)
from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx

_ALIASES: Final = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Expand"})
_STORED_ALIASES: Final = frozenset({"Transpose", "DequantizeLinear", *_ALIASES})
_NORMS: Final = (
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
    "SimplifiedLayerNormalization", "SkipLayerNormalization", "LpNormalization", "LRN", "Softmax", "LogSoftmax",
    "CumSum",
)  # fmt: skip
_POOLS: Final = (
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "ArgMax", "ArgMin", "TopK", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp",
)  # fmt: skip
_MOVES: Final = (
    "Transpose", "Concat", "Split", "Slice", "Pad", "GatherElements", "GatherND", "ScatterND", "ScatterElements",
    "Tile",
    "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "ReverseSequence", "Compress", "NonZero", "OneHot", "Shape",
    "ConstantOfShape", "Range", "EyeLike", "Trilu", "Cast", "Constant",
)  # fmt: skip
_SHAPE_MATHS: Final = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "Constant"})
"""Computed from sizes alone: with fixed sizes runtimes fold them."""

_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN"})
Roles = dict[str, tuple[WeightRole, "int | None"]]


def read_onnx_graph(path: Path) -> Analysis:
    """Returns the analysis of an ONNX file.

    Raises:
        ModelError: onnx cannot read the file.
    """
    import onnx

    try:
        model: onnx.ModelProto = onnx.load(str(path))
        _fix_sizes(model)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # protobuf's DecodeError, missing external data, inference errors: all mean a bad file
        raise ModelError(
            f"{path}: onnx cannot read it: {error}. Expected a complete ONNX file; check it with onnx.checker."
        ) from error
    return _Reader(model.graph, path).read()


def _fix_sizes(model: onnx.ModelProto) -> None:
    stored = {item.name for item in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            for size in value.type.tensor_type.shape.dim:
                if size.WhichOneof("value") != "dim_value" or size.dim_value <= 0:
                    size.dim_value = 1
    # Sizes that were inferred before with a symbolic batch would contradict the fixed ones.
    del model.graph.value_info[:]


@final
class _Reader:
    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self._graph = graph
        self._path = path
        self._builder = GraphBuilder()

    def read(self) -> Analysis:
        """Returns the analysis."""
        for item in self._graph.initializer:
            self._store(item.name, item)
        stored = {item.name for item in self._graph.initializer}
        inputs = [value for value in self._graph.input if value.name not in stored]
        for value in (*inputs, *self._graph.value_info, *self._graph.output):
            self._declare(value)
        for node in self._graph.node:
            self._add(node)
        return self._builder.finish([v.name for v in inputs], [v.name for v in self._graph.output])

    def _store(self, name: str, item: onnx.TensorProto) -> None:
        from onnx import helper, numpy_helper

        folder = str(self._path.parent)
        dtype = str(helper.tensor_dtype_to_np_dtype(item.data_type))
        self._builder.store(name, item.dims, dtype, lambda: numpy_helper.to_array(item, base_dir=folder))

    def _declare(self, value: onnx.ValueInfoProto) -> None:
        from onnx import helper

        kind = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or not kind.elem_type:
            return
        shape = [size.dim_value if size.WhichOneof("value") == "dim_value" else 1 for size in kind.shape.dim]
        if any(size.WhichOneof("value") != "dim_value" for size in kind.shape.dim):
            self._builder.note(f"{value.name}: its sizes are not known from the file; open ones count as 1.")
        self._builder.tensor(value.name, shape, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)))

    def _add(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            if tensor is not None:
                self._store(node.output[0], tensor)
            return
        reads = [name for name in node.input if name and self._builder.knows(name)]
        stored = [name for name in reads if self._builder.is_stored(name)]
        is_alias = node.op_type in _ALIASES or (node.op_type in _STORED_ALIASES and reads[:1] == stored[:1] != [])
        if reads and is_alias:
            self._builder.alias(node.output[0], reads[0])
            return
        if node.op_type in _SHAPE_MATHS:
            return
        if reads and len(stored) == len(reads) and node.op_type != "Gather":
            self._fold(node, reads)
            return
        outputs = [name for name in node.output if name and self._builder.knows(name)]
        kernel, macs, roles, attributes = self._cost(node, reads, outputs)
        self._builder.add(
            name=node.name or (node.output[0] if node.output else node.op_type),
            type=node.op_type,
            kernel=kernel,
            reads=reads,
            outputs=outputs,
            module=_scope(node),
            macs=macs,
            roles=roles,
            attributes=attributes,
        )

    def _fold(self, node: onnx.NodeProto, reads: Sequence[str]) -> None:
        """Declares what is computed from stored tensors alone: runtimes evaluate it once, at load."""
        for name in node.output:
            shape = self._builder.shape(name) if self._builder.knows(name) else self._builder.shape(reads[0])
            cut = node.op_type == "Slice"
            self._builder.derive(name, shape, "float32", reads[:1] if cut else reads, is_slice=cut)

    def _cost(
        self, node: onnx.NodeProto, reads: Sequence[str], outputs: Sequence[str]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        """Returns (kernel class, MACs, roles of the weights, attributes) of a node."""
        kind = node.op_type
        made = self._builder.shape(outputs[0]) if outputs else ()
        if kind in {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"} and len(reads) > 1:
            return self._convolution(node, made)
        if kind in {"Gemm", "MatMul", "MatMulInteger"} and len(reads) > 1:
            return self._product(node, made)
        if kind in _RECURRENT:
            return self._recurrent(node, reads)
        if kind == "Einsum":
            equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
            macs = einsum_macs(equation, [self._builder.shape(name) for name in reads])
            return ("attention_matmul", macs, {}, {})
        if kind == "Gather" and self._builder.is_stored(reads[0]) and len(self._builder.shape(reads[0])) == 2:
            return ("embedding", 0, {reads[0]: ("table", self._builder.shape(reads[0])[0])}, {})
        if kind in _NORMS:
            return ("normalization", 0, {n: ("norm", None) for n in reads[1:] if self._builder.is_stored(n)}, {})
        if kind == "Add":
            # What a linear layer without a bias of its own gets added along its last axis.
            vectors = [n for n in reads if self._builder.is_stored(n) and len(self._builder.shape(n)) == 1]
            return ("elementwise", 0, dict.fromkeys(vectors, ("bias", None)), {})
        plain: KernelClass = (
            "pooling" if kind in _POOLS else "data_movement" if kind in {*_MOVES, "Gather"} else "elementwise"
        )
        return (plain, 0, {}, {})

    def _convolution(
        self, node: onnx.NodeProto, made: Sequence[int]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        source, weight = node.input[0], node.input[1]
        seen, shape = self._builder.shape(source), self._builder.shape(weight)
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        transposed = node.op_type == "ConvTranspose"
        size = shape[2:]
        roles: Roles = {weight: ("kernel", shape[1] * groups if transposed else shape[0])}
        if len(node.input) > 2 and node.input[2]:
            roles[node.input[2]] = ("bias", None)
        stride = next((list(a.ints) for a in node.attribute if a.name == "strides"), [])
        macs = conv_macs(seen if transposed else made, size, shape[1])
        return (conv_kernel(size, groups, seen[1]), macs, roles, conv_attributes(size, stride, groups))

    def _product(self, node: onnx.NodeProto, made: Sequence[int]) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        left = self._builder.shape(node.input[0])
        flipped = any(a.name == "transA" and a.i for a in node.attribute)
        macs = matmul_macs(made, left[0 if flipped else -1] if left else 1)
        stored = next((name for name in node.input[1::-1] if self._builder.is_stored(name)), None)
        if stored is None:
            return ("attention_matmul", macs, {}, {})
        roles: Roles = {stored: ("kernel", made[-1] if made else 1)}
        if len(node.input) > 2 and node.input[2]:
            roles[node.input[2]] = ("bias", None)
        return ("linear", macs, roles, {})

    def _recurrent(
        self, node: onnx.NodeProto, reads: Sequence[str]
    ) -> tuple[KernelClass, int, Roles, Mapping[str, int]]:
        seen = self._builder.shape(node.input[0])
        matrices = [name for name in node.input[1:3] if self._builder.is_stored(name)]
        roles: Roles = {name: ("recurrent", self._builder.shape(name)[-2]) for name in matrices}
        roles |= {name: ("bias", None) for name in reads[3:] if self._builder.is_stored(name)}
        macs = recurrent_macs([self._builder.shape(name) for name in matrices], seen[0], seen[1])
        return ("recurrent", macs, roles, {"steps": seen[0]})


def _scope(node: onnx.NodeProto) -> str:
    """Returns the module that a node came from, where the exporter wrote it: `/layer1/conv/Conv` is `layer1.conv`."""
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = [part.strip(" '\"[]") for part in item.value.split(",")]
            named = [part for part in scopes[:-1] if part]
            return named[-1] if named else ""
    return str(node.name).strip("/").rpartition("/")[0].replace("/", ".")
