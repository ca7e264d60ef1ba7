"""Which tensors of a float graph go onto integer grids, for the two runtimes that are reached through torch.

The plan is about tensors: a quantized tensor has one grid, and everybody who reads it reads the quantized values.
Three rules keep it sound where stock quantizers fail:

- An activation that a kernel fuses (ReLU6 into a convolution) has no grid before it. Otherwise most of the 256 steps
  cover values that the clamp throws away.
- Operators that only move or select values (reshape, max pool, pad) share one grid between input and output, and a
  concatenation shares one among all its inputs: nothing is requantized. An input that others read too and whose values
  are far smaller has a grid of its own (`parted_grids`): theirs would leave those readers a handful of steps.
- Additions and products are integers only among tensors that come from integer-friendly operators. Attention masks,
  position tables and residual streams of transformers stay float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.fine_arguments import fine_operators
from edgekit.analysis.output_heads import HeadOperator, head_operators
from edgekit.formats.realisation import FusingKernels
from edgekit.quantization.pt2e_graph import constant_of, is_float_tensor, modules_of, results_of, target_of
from edgekit.quantization.ranges import Range
from edgekit.recipe import OperatorKind, Precision, Recipe
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

CONVOLUTIONS: Final = frozenset(
    {"aten.conv1d.default", "aten.conv1d.padding", "aten.conv2d.default", "aten.conv2d.padding"}
)
TRANSPOSED_CONVOLUTIONS: Final = frozenset({"aten.conv_transpose2d.input"})
LINEAR: Final = "aten.linear.default"
WEIGHTED: Final = CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS | {LINEAR}
EMBEDDING: Final = "aten.embedding.default"
CONCATENATION: Final = "aten.cat.default"
RECURRENT: Final = frozenset({"aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input"})

_ARITHMETIC: Final = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", CONCATENATION})
_AVERAGES: Final = frozenset({"aten.adaptive_avg_pool2d.default", "aten.avg_pool2d.default", "aten.mean.dim"})
_MOVES: Final = frozenset(
    {
        "aten.flatten.using_ints",
        "aten.max_pool2d.default",
        "aten.pad.default",
        "aten.permute.default",
        "aten.reshape.default",
        "aten.slice.Tensor",
        "aten.squeeze.dim",
        "aten.squeeze.default",
        "aten.transpose.int",
        "aten.unsqueeze.default",
        "aten.view.default",
    }
)
_CLAMPS: Final = frozenset({"aten.relu.default", "aten.hardtanh.default"})
_FLOAT_ACTIVATIONS: Final = frozenset(
    {
        "aten.elu.default",
        "aten.gelu.default",
        "aten.hardsigmoid.default",
        "aten.hardswish.default",
        "aten.leaky_relu.default",
        "aten.mish.default",
        "aten.sigmoid.default",
        "aten.silu.default",
        "aten.tanh.default",
    }
)
_FUSED: Final[Mapping[FusingKernels, Mapping[str, frozenset[str]]]] = {
    # XNNPACK's kernels clamp for free; see fused_acts of its partitioner's configurations.
    "xnnpack": {**dict.fromkeys(WEIGHTED, _CLAMPS), "aten.add.Tensor": frozenset({"aten.relu.default"})},
    # Core ML's compiler fuses any activation after a convolution or a linear layer; Apple's own quantizer has the list.
    "mil": {
        **dict.fromkeys(WEIGHTED, _CLAMPS | _FLOAT_ACTIVATIONS),
        "aten.add.Tensor": frozenset({"aten.relu.default"}),
    },
}
"""Activations that the kernel of an operator applies by itself."""

_NARROWER: Final = 4
"""Times by which an input's range is narrower than its concatenation's where two of its 8 bits would be lost."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationPlan:
    """What happens to which node; nodes are named as in the float graph.

    Attributes:
        weighted: Precision of each operator with constant weights (convolution, linear, embedding, LSTM).
        integer: Operators that compute in integers with fixed ranges.
        group_of: Tensor (producing node) to the group that shares one grid.
        joined: Pairs of tensors that share a grid for what lies between them; groups follow from these.
        loose: Those of them, from an input that others read too to its concatenation, that may be parted.
        ranged: Tensors whose values determine their group's range.
        transparent: Operators that an integer kernel absorbs: they read quantized values and are not quantized again.
        fallbacks: Operators that the recipe wanted as integers and that stay float, as `module (operator)`.
    """

    weighted: Mapping[str, Precision]
    integer: frozenset[str] = frozenset()
    group_of: Mapping[str, str] = field(default_factory=dict[str, str])
    joined: tuple[tuple[str, str], ...] = ()
    loose: frozenset[tuple[str, str]] = frozenset()
    ranged: frozenset[str] = frozenset()
    transparent: frozenset[str] = frozenset()
    fallbacks: tuple[str, ...] = ()


def precision_of_node(recipe: Recipe, node: Node) -> Precision:
    """Returns the precision of a node: of the first override that names a module it lies in, else the default."""
    return recipe.precision_of(modules_of(node), _kind(node))


def _kind(node: Node) -> OperatorKind:
    target = target_of(node)
    if target in CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS:
        return "convolution"
    # What has no weights joins the integers only among tensors that are there already (see `_Builder`).
    return "matrix" if target in RECURRENT | {LINEAR, EMBEDDING} else "follower"


def plan_quantization(module: GraphModule, recipe: Recipe, kernels: FusingKernels) -> QuantizationPlan:
    """Returns the plan for a simplified float graph."""
    described = described_operators(module)
    kept = head_operators(described, [node.name for node in results_of(module)], recipe.float_heads)
    fine = fine_operators(described)
    weighted: dict[str, Precision] = {}
    for node in module.graph.nodes:
        if _has_constant_weights(module, node):
            wanted = "fp32" if node.name in kept else precision_of_node(recipe, node)
            weighted[node.name] = "fp32" if wanted == "int8_static" and node.name in fine else wanted
    if not recipe.needs_calibration:
        return QuantizationPlan(weighted=weighted, fallbacks=_float_weighted(module, recipe, weighted))
    builder = _Builder(module=module, recipe=recipe, kernels=kernels, weighted=weighted, kept=kept | fine)
    for node in module.graph.nodes:
        builder.visit(node)
    return builder.finish()


def parted_grids(plan: QuantizationPlan, ranges: Mapping[str, Range]) -> QuantizationPlan:
    """Returns the plan in which inputs of concatenations that are far narrower have grids of their own.

    Args:
        plan: As `plan_quantization` made it.
        ranges: Calibrated range of each tensor by node name.
    """
    parted = {
        (source, result)
        for source, result in plan.loose
        if source in ranges and result in ranges and _NARROWER * _width(ranges[source]) < _width(ranges[result])
    }
    joined = tuple(pair for pair in plan.joined if pair not in parted)
    return replace(plan, group_of=_groups(plan.group_of, joined), joined=joined)


def _width(found: Range) -> float:
    return max(found.high, 0.0) - min(found.low, 0.0)


def _groups(tensors: Iterable[str], joined: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns each tensor's group, by the name of its first member, where these pairs are in the same one."""
    parent = {name: name for name in tensors}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for one, other in joined:
        parent[root(other)] = root(one)
    return {name: root(name) for name in parent}


def described_operators(module: GraphModule) -> tuple[HeadOperator, ...]:
    """Returns the calls of a float graph as what heads are found in; constants are read by no name."""
    return tuple(
        HeadOperator(
            name=node.name,
            word=str(getattr(node.target, "__name__", node.target)),
            reads=tuple(item.name for item in node.all_input_nodes if item.op != "get_attr"),
            writes=(node.name,),
        )
        for node in module.graph.nodes
        if node.op == "call_function"
    )


def label_of(node: Node) -> str:
    """Returns how a node is named to the user: `blocks.3._project_conv (aten.conv2d.default)`."""
    names = modules_of(node)
    return f"{names[0] if names else node.name} ({target_of(node)})"


def _has_constant_weights(module: GraphModule, node: Node) -> bool:
    target = target_of(node)
    if target in WEIGHTED:
        return constant_of(module, node.args[1]) is not None
    if target == EMBEDDING:
        return constant_of(module, node.args[0]) is not None
    return target in RECURRENT


def _float_weighted(module: GraphModule, recipe: Recipe, weighted: Mapping[str, Precision]) -> tuple[str, ...]:
    """Returns matrix products and convolutions without constant weights, where integers were requested."""
    return tuple(
        label_of(node)
        for node in module.graph.nodes
        if target_of(node) in WEIGHTED
        and node.name not in weighted
        and precision_of_node(recipe, node) not in {"fp32", "fp16"}
    )


@final
class _Builder:
    """Walks the graph once, in order."""

    def __init__(
        self,
        *,
        module: GraphModule,
        recipe: Recipe,
        kernels: FusingKernels,
        weighted: Mapping[str, Precision],
        kept: Collection[str],
    ) -> None:
        self._module = module
        self._recipe = recipe
        self._kernels: FusingKernels = kernels
        self._weighted = weighted
        self._kept = kept
        self._integer: dict[str, Node] = {}
        self._friendly: set[str] = set()
        self._tensors: dict[str, Node] = {}
        self._fused: set[str] = set()
        self._unranged: set[str] = set()
        self._transparent: set[str] = set()
        self._joined: list[tuple[str, str]] = []
        self._concatenated: list[tuple[Node, Node]] = []
        self._fallbacks: list[str] = []

    def visit(self, node: Node) -> None:
        target = target_of(node)
        if node.name in self._fused or node.name in self._kept:
            return
        if node.op == "placeholder" and is_float_tensor(node):
            self._friendly.add(node.name)
            return
        if not target or not is_float_tensor(node):
            return
        wanted = precision_of_node(self._recipe, node) == "int8_static"
        if target in _FLOAT_ACTIVATIONS:
            hybrid = self._recipe.word_of(modules_of(node)) == "int8_hybrid"
            if not hybrid or self._is_friendly(node.args[0]):
                self._friendly.add(node.name)
        elif not wanted:
            return
        elif target in WEIGHTED:
            if node.name in self._weighted and self._kernel_exists(node):
                self._accept(node, [node.args[0]])
            else:
                self._fallbacks.append(label_of(node))
        elif target in _ARITHMETIC:
            self._visit_arithmetic(node)
        elif target in _MOVES | _AVERAGES | _CLAMPS and self._is_integer(node.args[0]):
            self._visit_follower(node)

    def finish(self) -> QuantizationPlan:
        group_of = _groups(self._tensors, self._joined)
        ranged = frozenset(name for name in group_of if name not in self._unranged)
        return QuantizationPlan(
            weighted=self._weighted,
            integer=frozenset(self._integer) | frozenset(self._fused),
            group_of=group_of,
            joined=tuple(self._joined),
            loose=self._loose(),
            ranged=ranged,
            transparent=frozenset(self._transparent),
            fallbacks=tuple(self._fallbacks),
        )

    def _kernel_exists(self, node: Node) -> bool:
        """Transposed convolutions with groups have no integer kernel with a scale per channel."""
        groups = node.args[6] if len(node.args) > 6 else 1
        return target_of(node) not in TRANSPOSED_CONVOLUTIONS or groups == 1

    def _visit_arithmetic(self, node: Node) -> None:
        inputs = list(node.args[0]) if target_of(node) == CONCATENATION else list(node.args[:2])
        if node.kwargs.get("alpha", 1) != 1 or not all(self._is_friendly(item) for item in inputs):
            return
        if all(item.op == "placeholder" for item in inputs):
            return  # float inputs that meet before any kernel: nothing is gained
        self._accept(node, inputs)
        if target_of(node) == CONCATENATION:
            for item in inputs:
                self._join(item, node)
                self._concatenated.append((item, node))

    def _visit_follower(self, node: Node) -> None:
        source, target = node.args[0], target_of(node)
        if target == "aten.pad.default" and not _is_zero_pad(node):
            return
        if target == "aten.pad.default" and self._kernels == "xnnpack":
            # XNNPACK's convolution takes the padding in; a grid in between would hide the pair from its partitioner.
            if all(target_of(user) in CONVOLUTIONS for user in node.users):
                self._transparent.add(node.name)
            return
        self._accept(node, [source])
        if target not in _AVERAGES:
            self._join(source, node)
        if target in _CLAMPS and len(source.users) == 1:
            self._unranged.add(source.name)  # only the clamped values are ever read

    def _accept(self, node: Node, inputs: Iterable[Node]) -> None:
        """Makes `node` an integer operator that reads `inputs`."""
        self._integer[node.name] = node
        for item in inputs:
            source = item.args[0] if item.name in self._transparent else item
            self._add_tensor(source)
        result = node
        users = list(node.users)
        fused = _FUSED[self._kernels].get(target_of(node), frozenset())
        if len(users) == 1 and target_of(users[0]) in fused and users[0].name not in self._kept:
            result = users[0]
            self._fused.add(result.name)
        self._friendly.add(result.name)
        self._add_tensor(result)

    def _add_tensor(self, node: Node) -> None:
        self._tensors[node.name] = node

    def _is_friendly(self, item: Any) -> bool:
        return getattr(item, "name", None) in self._friendly and is_float_tensor(item)

    def _is_integer(self, item: object) -> bool:
        return getattr(item, "name", None) in self._integer.keys() | self._fused

    def _join(self, one: Node, other: Node) -> None:
        self._joined.append((one.name, other.name))

    def _loose(self) -> frozenset[tuple[str, str]]:
        """Returns the inputs of concatenations that something else reads too, itself or what it was moved from."""
        concatenations = {(item.name, node.name) for item, node in self._concatenated}
        moved = _groups(self._tensors, [pair for pair in self._joined if pair not in concatenations])
        ends = {node for _, node in self._concatenated}
        elsewhere = {
            moved[tensor.name]
            for tensor in self._tensors.values()
            for reader in tensor.users
            if reader not in ends and moved.get(reader.name) != moved[tensor.name]
        }
        return frozenset(pair for pair in concatenations if moved[pair[0]] in elsewhere)


def _is_zero_pad(node: Node) -> bool:
    constant = len(node.args) < 3 or node.args[2] == "constant"
    return constant and (len(node.args) < 4 or node.args[3] in (None, 0, 0.0))
