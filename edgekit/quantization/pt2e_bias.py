"""Bias correction in a graph that quantization is being written into (see `edgekit.quantization.bias_correction`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantization.bias_correction import mean_shift
from edgekit.quantization.pt2e_graph import add_constant, constant_of, target_of
from edgekit.quantization.pt2e_plan import CONVOLUTIONS, LINEAR, QuantizationPlan
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.fx import GraphModule


def corrected_layers(module: GraphModule, plan: QuantizationPlan) -> dict[str, tuple[str, int]]:
    """Returns the layers whose bias is corrected, by node name: the tensor that each reads, the axis of its channels.

    Transposed convolutions are left out: how many weights an output meets depends on its position. So are layers whose
    bias is computed.
    """
    layers: dict[str, tuple[str, int]] = {}
    for node in module.graph.nodes:
        target = target_of(node)
        if plan.weighted.get(node.name) != "int8_static" or node.name not in plan.integer:
            continue
        computed = len(node.args) > 2 and node.args[2] is not None and constant_of(module, node.args[2]) is None
        if target in CONVOLUTIONS | {LINEAR} and not computed:
            layers[node.name] = (node.args[0].name, -1 if target == LINEAR else 1)
    return layers


def correct_bias(module: GraphModule, node: Node, exact: Tensor, input_mean: NDArray[np.float64]) -> None:
    """Subtracts from a layer's bias what rounding its weights adds to its output on average.

    Args:
        module: torch.fx.GraphModule, changed in place.
        node: Convolution or linear layer whose weight is a dequantization of integers already.
        exact: The float weight, shape (outputs, inputs / groups, ...).
        input_mean: Mean of each input channel, shape (inputs,).
    """
    import torch

    integers, scales = (constant_of(module, item) for item in node.args[1].args[:2])
    rounded = integers.double() * scales.double().reshape(-1, *[1] * (exact.ndim - 1))
    groups = input_mean.size // exact.shape[1]
    shift = torch.from_numpy(mean_shift((rounded - exact.detach().double()).numpy(), input_mean, groups))
    old = constant_of(module, node.args[2]) if len(node.args) > 2 else None
    new = (-shift if old is None else old.detach().double() - shift).to(exact.dtype)
    if old is None and not shift.any():
        return
    # A constant of its own: the old one may belong to another layer too.
    bias = add_constant(module, node, f"{node.name}_corrected_bias", new)
    node.args = (*node.args[:2], bias, *node.args[3:])
