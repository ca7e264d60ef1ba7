"""What one ATen call costs: its kernel class, its multiply-accumulates, and which argument is which weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from edgekit.analysis.graph import KernelClass, WeightRole
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.operator_costs import (
    conv_attributes,
    conv_kernel,
    conv_macs,
    einsum_macs,
    matmul_macs,
    recurrent_macs,
)
from edgekit.torch_program.torch_protocols import Node

Roles = dict[str, tuple[WeightRole, int | None]]

_NORMS: Final = (
    "batch_norm", "_native_batch_norm_legit_no_training", "layer_norm", "native_layer_norm", "group_norm",
    "native_group_norm", "instance_norm", "rms_norm", "_fused_rms_norm", "softmax", "_softmax", "log_softmax",
    "_log_softmax",
    "linalg_vector_norm", "norm", "cumsum",
)  # fmt: skip
_POOLS: Final = (
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "mean", "sum", "amax", "amin", "max", "min", "prod", "var", "var_mean", "std", "argmax",
    "argmin",
    "any", "all", "topk",
)  # fmt: skip
_MOVES: Final = (
    "transpose", "permute", "t", "cat", "stack", "split", "split_with_sizes", "chunk", "unbind", "slice", "select",
    "narrow",
    "index_select", "index", "gather", "scatter", "roll", "flip", "repeat", "repeat_interleave", "pad",
    "constant_pad_nd",
    "reflection_pad2d", "replication_pad2d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "im2col",
    "tril", "triu", "slice_scatter", "select_scatter", "copy", "copy_", "as_strided", "tile", "movedim",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d", "grid_sampler", "to", "_to_copy",
)  # fmt: skip
_ELEMENTWISE: Final = (
    "add", "add_", "sub", "rsub", "mul", "mul_", "div", "div_", "pow", "sqrt", "rsqrt", "exp", "log", "log1p",
    "expm1", "neg",
    "abs", "sign", "floor", "ceil", "round", "trunc", "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp",
    "clamp_",
    "clamp_min", "clamp_max", "leaky_relu", "leaky_relu_", "prelu", "elu", "elu_", "selu", "celu", "gelu", "silu",
    "silu_",
    "mish", "sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_", "tanh", "tanh_",
    "softplus",
    "erf", "sin", "cos", "atan2", "glu", "maximum", "minimum", "where", "masked_fill", "eq", "ne", "lt", "le", "gt",
    "ge",
    "logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "reciprocal", "square",
    "fmod",
    "remainder", "isnan", "isinf", "full_like", "zeros_like", "ones_like", "new_zeros", "addcmul", "addcdiv", "lerp",
    "threshold", "log_sigmoid", "floor_divide", "type_as", "float", "half", "int", "long", "softmin", "tan",
    "nan_to_num",
)  # fmt: skip


def _table(*rows: tuple[KernelClass, Sequence[str]]) -> Mapping[str, KernelClass]:
    return {name: kernel for kernel, names in rows for name in names}


PLAIN: Final = _table(
    ("normalization", _NORMS), ("pooling", _POOLS), ("data_movement", _MOVES), ("elementwise", _ELEMENTWISE)
)
"""Operators without multiply-accumulates to speak of."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One operator that a call becomes; attention becomes three."""

    name: str
    type: str
    kernel: KernelClass
    reads: Sequence[str]
    outputs: Sequence[str]
    macs: int = 0
    roles: Roles = field(default_factory=dict[str, tuple[WeightRole, "int | None"]])
    in_place: bool | None = None
    attributes: Mapping[str, int] = field(default_factory=dict[str, int])


@final
@dataclass(slots=True, kw_only=True)
class Call:
    """One call of an ATen operator.

    Attributes:
        node: The torch.fx node.
        base: Base name of the operator.
        reads: Names of the tensors that it reads, stored ones included.
        outputs: Names of the tensors that it writes.
        builder: Where the tensors were declared.
        known: Set to False where the operator is not in any table here.
    """

    node: Node
    base: str
    reads: Sequence[str]
    outputs: Sequence[str]
    builder: GraphBuilder
    known: bool = True

    def argument(self, name: str) -> Any:
        """Returns an argument by its name in the operator's schema, None where it was not given."""
        if name in self.node.kwargs:
            return self.node.kwargs[name]
        for position, item in enumerate(self.node.target._schema.arguments):  # noqa: SLF001  torch's only way to it
            if item.name == name:
                return self.node.args[position] if position < len(self.node.args) else item.default_value
        return None

    def shape(self, node: Node) -> tuple[int, ...]:
        """Returns the sizes of an argument that is a tensor, as the call sees them."""
        return tuple(int(size) for size in node.meta["val"].shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Sizes of the first output."""
        value = self.node.meta["val"]
        first = value[0] if isinstance(value, (tuple, list)) else value
        return tuple(int(size) for size in first.shape)

    def part(self, kernel: KernelClass, **more: Any) -> Part:
        """Returns the operator that stands for the whole call."""
        return Part(name=self.node.name, type=self.base, kernel=kernel, reads=self.reads, outputs=self.outputs, **more)


def describe(call: Call) -> tuple[Part, ...]:
    """Returns the operators that a call becomes in a runtime."""
    special = _SPECIAL.get(call.base)
    if special is not None:
        return special(call)
    kernel = PLAIN.get(call.base)
    if kernel is None:
        call.known = False
        return (call.part("elementwise"),)
    roles: Roles = {}
    if kernel == "normalization":
        roles = {name: ("norm", None) for name in call.reads[1:] if call.builder.is_stored(name)}
    return (call.part(kernel, roles=roles),)


def _convolution(call: Call) -> tuple[Part, ...]:
    source, weight, bias = call.argument("input"), call.argument("weight"), call.argument("bias")
    groups = int(call.argument("groups") or 1)
    transposed = "transpose" in call.base or bool(call.argument("transposed"))
    shape, seen, made = call.shape(weight), call.shape(source), call.output_shape
    kernel_size = shape[2:]
    # A transposed convolution spreads each input value; its weight is (in, out / groups, ...).
    channels = shape[1] * groups if transposed else shape[0]
    macs = conv_macs(seen if transposed else made, kernel_size, shape[1])
    roles: Roles = {weight.name: ("kernel", channels)}
    if bias is not None:
        roles[bias.name] = ("bias", None)
    stride = call.argument("stride")
    attributes = conv_attributes(kernel_size, [stride] if isinstance(stride, int) else list(stride or ()), groups)
    kernel = conv_kernel(kernel_size, groups, seen[1])
    return (call.part(kernel, macs=macs, roles=roles, attributes=attributes),)


def _linear(call: Call) -> tuple[Part, ...]:
    weight, bias = call.argument("weight"), call.argument("bias")
    roles: Roles = {weight.name: ("kernel", call.shape(weight)[0])}
    if bias is not None:
        roles[bias.name] = ("bias", None)
    macs = matmul_macs(call.output_shape, call.shape(weight)[-1])
    kernel: KernelClass = "linear" if call.builder.is_stored(weight.name) else "attention_matmul"
    return (call.part(kernel, macs=macs, roles=roles),)


def _product(call: Call, left: Node, right: Node, bias: Node | None = None) -> tuple[Part, ...]:
    """A matrix product: linear where one side is stored, else of two activations."""
    made = call.output_shape
    macs = matmul_macs(made, call.shape(left)[-1])
    stored = next((side for side in (right, left) if call.builder.is_stored(side.name)), None)
    if stored is None:
        return (call.part("attention_matmul", macs=macs),)
    roles: Roles = {stored.name: ("kernel", made[-1] if made else 1)}
    if bias is not None:
        roles[bias.name] = ("bias", None)
    return (call.part("linear", macs=macs, roles=roles),)


def _matmul(call: Call) -> tuple[Part, ...]:
    left, right = call.node.args[:2]
    return _product(call, left, right)


def _addmm(call: Call) -> tuple[Part, ...]:
    bias, left, right = call.node.args[:3]
    return _product(call, left, right, bias)


def _einsum(call: Call) -> tuple[Part, ...]:
    equation, operands = call.node.args[0], call.node.args[1]
    macs = einsum_macs(equation, [call.shape(item) for item in operands])
    stored = next((item for item in operands if call.builder.is_stored(item.name)), None)
    if stored is None:
        return (call.part("attention_matmul", macs=macs),)
    return (call.part("linear", macs=macs, roles={stored.name: ("kernel", call.output_shape[-1])}),)


def _attention(call: Call) -> tuple[Part, ...]:
    """softmax(q kT + mask) v, as runtimes run it: a product, a softmax over the scores, a product."""
    query, key, value = (call.argument(name) for name in ("query", "key", "value"))
    q, k, v = call.shape(query), call.shape(key), call.shape(value)
    scores = (*q[:-1], k[-2])
    name, dtype = call.node.name, str(call.node.args[0].meta["val"].dtype).removeprefix("torch.")
    raw = call.builder.tensor(f"{name}_scores", scores, dtype)
    soft = call.builder.tensor(f"{name}_weights", scores, dtype)
    mask = call.argument("attn_mask")
    return (
        Part(
            name=f"{name}_qk", type="matmul", kernel="attention_matmul", reads=[query.name, key.name], outputs=[raw],
            macs=matmul_macs(scores, q[-1]),
        ),
        Part(
            name=f"{name}_softmax", type="softmax", kernel="normalization",
            reads=[raw, *([mask.name] if mask is not None else [])], outputs=[soft], in_place=True,
        ),
        Part(
            name=name, type="matmul", kernel="attention_matmul", reads=[soft, value.name], outputs=call.outputs,
            macs=matmul_macs((*q[:-1], v[-1]), k[-2]),
        ),
    )  # fmt: skip


def _recurrent(call: Call) -> tuple[Part, ...]:
    """LSTM, GRU and plain RNN over a whole sequence, or one cell step."""
    stored = [item for item in call.node.all_input_nodes if call.builder.is_stored(item.name)]
    # Initial states are stored too where the model starts from zeros; matrices are the 2-D ones.
    matrices = [item for item in stored if len(call.shape(item)) == 2]
    biases = [item for item in stored if len(call.shape(item)) == 1]
    seen = call.shape(call.node.args[0])
    steps, batch = 1, seen[0]
    if not call.base.endswith("_cell"):
        first, second = (seen[0], seen[1]) if len(seen) == 3 else (seen[0], 1)
        steps, batch = (second, first) if call.argument("batch_first") else (first, second)
    roles: Roles = {item.name: ("recurrent", call.shape(item)[0]) for item in matrices}
    roles |= {item.name: ("bias", None) for item in biases}
    macs = recurrent_macs([call.shape(item) for item in matrices], steps, batch)
    return (call.part("recurrent", macs=macs, roles=roles, attributes={"steps": steps}),)


def _embedding(call: Call) -> tuple[Part, ...]:
    table = next((item for item in call.node.all_input_nodes if call.builder.is_stored(item.name)), None)
    if table is None or len(call.shape(table)) != 2 or "float" not in str(table.meta["val"].dtype):
        return (call.part("data_movement"),)
    return (call.part("embedding", roles={table.name: ("table", call.shape(table)[0])}),)


_SPECIAL: Final[Mapping[str, Callable[[Call], tuple[Part, ...]]]] = {
    **dict.fromkeys(
        (
            "conv1d", "conv2d", "conv3d", "convolution", "_convolution",
            "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
        ),
        _convolution,
    ),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm"), _addmm),
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"), _recurrent),
    **dict.fromkeys(("embedding", "index_select", "index"), _embedding),
}  # fmt: skip
