"""Like channels around activations that compute in float, in a graph that quantization is being written into.

XNNPACK computes hard swishes, SiLUs and their like in float between integer convolutions, as onnxruntime does:

    convolution (weights / s) -> integers -> * s -> activation -> / t -> integers -> convolutions (weights * t)

See `edgekit.quantization.even_channels`. What the model computes stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from edgekit.quantization.even_channels import HALF_A_BIT, Kernel, balanced_channels, even_channels, times_apart
from edgekit.quantization.pt2e_graph import add_constant, constant_of, shape_of, target_of
from edgekit.quantization.pt2e_plan import CONVOLUTIONS, QuantizationPlan
from edgekit.quantization.pt2e_ranges import Calibration, read_by_activations
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.fx import GraphModule


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatActivation:
    """An activation in float between integer convolutions.

    Attributes:
        writer: Convolution that it reads, None where something else is.
        activation: The activation.
        readers: Convolutions that read it, none where anything else does too.
    """

    writer: Node | None
    activation: Node
    readers: tuple[Node, ...]

    @property
    def scaled(self) -> tuple[Node, ...]:
        """Returns the nodes whose channels may be scaled."""
        return (*([self.writer] if self.writer is not None else []), *([self.activation] if self.readers else []))


def float_activations(module: GraphModule, plan: QuantizationPlan) -> tuple[FloatActivation, ...]:
    """Returns the activations that an integer convolution writes, or that only integer convolutions read.

    Those that a kernel fuses have no grid before them; they are left out.
    """
    nodes = {node.name: node for node in module.graph.nodes}
    found: list[FloatActivation] = []
    for name in read_by_activations(module):
        source = nodes[name]
        activation = next(iter(source.users))
        if len(source.users) > 1 or activation.name in plan.integer:
            continue
        users = tuple(activation.users)
        reading = all(_is_integer_convolution(module, user, plan) and user.args[0] is activation for user in users)
        writer = source if _is_integer_convolution(module, source, plan) and name in plan.group_of else None
        passage = FloatActivation(writer=writer, activation=activation, readers=users if reading else ())
        found += [passage] if passage.scaled else []
    return tuple(found)


def _is_integer_convolution(module: GraphModule, node: Node, plan: QuantizationPlan) -> bool:
    """Returns True for a convolution in integers whose bias, if any, is constant."""
    if target_of(node) not in CONVOLUTIONS or node.name not in plan.integer:
        return False
    computed = len(node.args) > 2 and node.args[2] is not None and constant_of(module, node.args[2]) is None
    return plan.weighted.get(node.name) == "int8_static" and not computed


def even_out(
    module: GraphModule, plan: QuantizationPlan, found: Calibration, activations: Sequence[FloatActivation]
) -> tuple[QuantizationPlan, Calibration]:
    """Scales channels that are far apart, in place; returns what is planned for and known of the changed graph.

    Args:
        module: The float graph.
        plan: What is planned for it.
        found: Its calibration, with the extremes of the channels that may be scaled.
        activations: Around which.
    """
    ranges, means, group_of = dict(found.ranges), dict(found.means), dict(plan.group_of)
    for passage in activations:
        writer, activation = passage.writer, passage.activation
        if writer is not None and _is_far(writer, found):
            even = even_channels(found.extremes[writer.name], found.ranges[writer.name])
            _divide_outputs(module, writer, even.factors)
            _scale_behind(module, writer, even.factors, (activation,))
            ranges[writer.name] = even.range
        if passage.readers and _is_far(activation, found):
            kernels = [_kernel(module, node) for node in passage.readers]
            balanced = balanced_channels(found.extremes[activation.name], found.ranges[activation.name], kernels)
            if balanced is None:
                continue
            for node, kernel in zip(passage.readers, kernels, strict=True):
                _set_constant(module, node, 1, kernel.scaled(balanced.factors))
                means |= {node.name: means[node.name] / balanced.factors} if node.name in means else {}
            product = _scale_behind(module, activation, 1 / balanced.factors, passage.readers)
            # The product lies on the grid now, and nobody else is on the activation's.
            group_of[product.name] = product.name
            del group_of[activation.name]
            ranges[product.name] = balanced.range
    return replace(plan, group_of=group_of), replace(found, ranges=ranges, means=means)


def _is_far(node: Node, found: Calibration) -> bool:
    return node.name in found.ranges and times_apart(found.extremes[node.name], found.ranges[node.name]) >= HALF_A_BIT


def _kernel(module: GraphModule, node: Node) -> Kernel:
    weights = constant_of(module, node.args[1]).detach().double().numpy()
    return Kernel(weights=weights, groups=node.args[6] if len(node.args) > 6 else 1)


def _divide_outputs(module: GraphModule, layer: Node, factors: NDArray[np.float64]) -> None:
    for place, argument in enumerate(layer.args[1:3], 1):
        if argument is not None:
            values = constant_of(module, argument).detach().double().numpy()
            _set_constant(module, layer, place, values / factors.reshape(-1, *[1] * (values.ndim - 1)))


def _set_constant(module: GraphModule, layer: Node, place: int, values: NDArray[np.float64]) -> None:
    """Gives a layer a constant of its own: the old one may belong to another too."""
    import torch

    made = add_constant(module, layer, f"{layer.name}_even_{place}", torch.from_numpy(values).float())
    layer.args = (*layer.args[:place], made, *layer.args[place + 1 :])


def _scale_behind(module: GraphModule, value: Node, factors: NDArray[np.float64], readers: Sequence[Node]) -> Node:
    """Multiplies each channel of a value for these readers and returns the product."""
    import torch

    shaped = torch.from_numpy(factors).float().reshape(1, -1, *[1] * (len(shape_of(value)) - 2))
    constant = add_constant(module, value.next, f"{value.name}_factors", shaped)
    with value.graph.inserting_after(constant):
        product = value.graph.call_function(torch.ops.aten.mul.Tensor, (value, constant))
    product.meta = {key: item for key, item in value.meta.items() if key in ("nn_module_stack", "val")}
    for reader in readers:
        reader.replace_input_with(value, product)
    return product
