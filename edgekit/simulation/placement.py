"""Which weight and which activation of a float graph a recipe rounds, and how: module name to quantizers.

Where grids lie is decided by the same rules as in the converters that go through torch (`pt2e_plan`): after fused
activations, shared by operators that only move values, none around attention. What differs between formats beyond that
is in `realisation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from edgekit.formats.realisation import Realisation
from edgekit.quantization.pt2e_graph import constant_of, modules_of, results_of, shape_of, target_of
from edgekit.quantization.pt2e_plan import (
    CONVOLUTIONS,
    EMBEDDING,
    LINEAR,
    RECURRENT,
    TRANSPOSED_CONVOLUTIONS,
    QuantizationPlan,
    parted_grids,
    plan_quantization,
)
from edgekit.quantization.pt2e_quantization import tensor_grids
from edgekit.quantization.ranges import Range
from edgekit.recipe import Precision, Recipe
from edgekit.simulation.quantizers import ActivationQuantizer, WeightQuantizer
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

EVERYTHING_ELSE: Final = ""
"""The name under which grids go that belong to no module with weights: inputs, additions, pooling."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """How an operator with weights computes.

    Attributes:
        module: Dotted name of the innermost module that it lies in, EVERYTHING_ELSE for none.
        weights: Names of the `get_attr` nodes that it reads and whose values are rounded, each with its quantizer.
        source: How its input is rounded where that happens at run time, else None.
        corrects_bias: The mean shift that rounding causes is taken back from its bias.
    """

    module: str
    weights: Mapping[str, WeightQuantizer]
    source: ActivationQuantizer | None = None
    corrects_bias: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Everything that is rounded.

    Attributes:
        kernels: By node name.
        tensors: Grid or cast of each rounded activation, by the name of the node that makes it.
        owner: Module of the kernel that makes each of `tensors`, EVERYTHING_ELSE where none does.
        integer: Nodes that read rounded values. A tensor that an integer node makes is rounded for all of its readers.
    """

    kernels: Mapping[str, Kernel]
    tensors: Mapping[str, ActivationQuantizer]
    owner: Mapping[str, str]
    integer: frozenset[str]

    def of_module(self, module: str) -> Placement:
        """Returns the part of one module alone: its weights, and the activations that it makes."""
        return replace(
            self,
            kernels={name: kernel for name, kernel in self.kernels.items() if kernel.module == module},
            tensors={name: item for name, item in self.tensors.items() if self.owner[name] == module},
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules with rounded weights, in order of execution."""
        return tuple(dict.fromkeys(kernel.module for kernel in self.kernels.values() if kernel.module))


def place(module: GraphModule, recipe: Recipe, realisation: Realisation, ranges: Mapping[str, Range]) -> Placement:
    """Returns what a recipe rounds in a simplified float graph.

    Args:
        module: `FloatGraph.module`.
        recipe: Precision of each part.
        realisation: Realisation of the format.
        ranges: Calibrated range of each activation by node name; may be empty where the recipe needs none.
    """
    plan = parted_grids(plan_quantization(module, recipe, realisation.fusion), ranges)
    nodes = {node.name: node for node in module.graph.nodes}
    kernels: dict[str, Kernel] = {}
    for name, precision in plan.weighted.items():
        made = _kernel(module, nodes[name], precision, plan, recipe, realisation)
        if made is not None:
            kernels[name] = made
    grids = tensor_grids(plan, ranges, symmetric=recipe.symmetric_activations) if ranges else {}
    if realisation.float_results:
        ends = {node.name for node in results_of(module) if target_of(node) == LINEAR}
        grids = {name: grid for name, grid in grids.items() if name not in ends}
    tensors = {name: ActivationQuantizer(kind="static", grid=grid) for name, grid in grids.items()}
    integer = plan.integer | plan.transparent
    if recipe.default == "fp16" and realisation.float16_activations:
        halves = {node.name: node for node in module.graph.nodes if _is_float_call(node) and node.name not in tensors}
        tensors |= dict.fromkeys(halves, ActivationQuantizer(kind="float16"))
        integer |= frozenset(halves)
    owner = {name: _owner(nodes[name], plan, nodes) for name in tensors}
    return Placement(kernels=kernels, tensors=tensors, owner=owner, integer=integer)


def _kernel(
    module: GraphModule,
    node: Node,
    precision: Precision,
    plan: QuantizationPlan,
    recipe: Recipe,
    realisation: Realisation,
) -> Kernel | None:
    """Returns how a node with weights computes, None where it stays float."""
    names = modules_of(node)
    home = names[0] if names else EVERYTHING_ELSE
    target = target_of(node)
    if precision == "fp32" or (target in RECURRENT and not realisation.integer_recurrent and precision != "fp16"):
        return None
    if precision == "fp16":
        return Kernel(module=home, weights=dict.fromkeys(_stored(module, node), WeightQuantizer(bits=16)))
    if target == EMBEDDING:
        group = recipe.table_group(shape_of(node.args[0])[-1]) if precision == "int4_weights" else None
        rounded = WeightQuantizer(bits=4, group_size=group) if group else WeightQuantizer(bits=8)
        return Kernel(module=home, weights={node.args[0].name: rounded})
    if target in RECURRENT:
        matrices = [item for item in _stored(module, node) if _dimensions(module, node, item) == 2]
        return Kernel(module=home, weights=dict.fromkeys(matrices, WeightQuantizer(bits=8)))
    axis = 1 if target in TRANSPOSED_CONVOLUTIONS else 0
    weight = WeightQuantizer(bits=8, axis=axis if recipe.per_channel else None)
    source = node.args[1].name
    if precision in ("int8_static", "w8a16"):
        if node.name not in plan.integer:
            return None
        return Kernel(module=home, weights={source: weight}, corrects_bias=realisation.corrects_bias)
    if precision == "int8_weights":
        group = realisation.weights_group if target == LINEAR else None
        fits = group is not None and shape_of(node.args[1])[-1] % group == 0
        return Kernel(module=home, weights={source: replace(weight, group_size=group if fits else None)})
    return _dynamic_kernel(node, home, precision, recipe, realisation)


def _dynamic_kernel(
    node: Node, home: str, precision: Precision, recipe: Recipe, realisation: Realisation
) -> Kernel | None:
    """Returns how a node computes with `int8_dynamic` or `int4_weights`."""
    target, source = target_of(node), node.args[1].name
    shape = shape_of(node.args[1])
    weight = WeightQuantizer(bits=8, axis=1 if target in TRANSPOSED_CONVOLUTIONS else 0)
    if target == LINEAR:
        if precision == "int4_weights" and shape[-1] % recipe.group_size == 0:
            weight = WeightQuantizer(bits=4, group_size=recipe.group_size)
        row = ActivationQuantizer(kind="dynamic_row") if realisation.dynamic_linear else None
        return Kernel(module=home, weights={source: weight}, source=row)
    if target not in CONVOLUTIONS or realisation.dynamic_convolutions == "none":
        return Kernel(module=home, weights={source: weight})
    depthwise = len(node.args) > 6 and node.args[6] > 1 and shape[1] == 1
    if depthwise and realisation.dynamic_convolutions == "dense":
        return None
    return Kernel(module=home, weights={source: weight}, source=ActivationQuantizer(kind="dynamic_tensor"))


def _stored(module: GraphModule, node: Node) -> list[str]:
    """Returns the names of the `get_attr` nodes with float tensors that a node reads."""
    found: list[str] = []
    for item in node.all_input_nodes:
        tensor = constant_of(module, item)
        if tensor is not None and tensor.is_floating_point():
            found.append(item.name)
    return found


def _dimensions(module: GraphModule, node: Node, name: str) -> int:
    item = next(item for item in node.all_input_nodes if item.name == name)
    return int(constant_of(module, item).ndim)


def _is_float_call(node: Node) -> bool:
    import torch

    value = node.meta.get("val")
    return node.op == "call_function" and isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _owner(tensor: Node, plan: QuantizationPlan, nodes: Mapping[str, Node]) -> str:
    """Returns the module of the kernel that makes a tensor, through an activation that it fuses."""
    source = tensor
    if tensor.name not in plan.weighted and tensor.name in plan.integer and tensor.args:
        before = getattr(tensor.args[0], "name", "")
        # A tensor before a fused activation has no grid of its own.
        source = nodes[before] if before in plan.weighted and before not in plan.group_of else tensor
    if source.name not in plan.weighted:
        return EVERYTHING_ELSE
    names = modules_of(source)
    return names[0] if names else EVERYTHING_ELSE
