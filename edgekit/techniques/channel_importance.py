"""How much each channel of a group matters. Runs in a worker that has torch.

l1, l2   sum of |w| or of w^2 over all weights that write, carry or read the channel (Li et al., "Pruning Filters for
         Efficient ConvNets", 2017, section 3.1, for one layer; Fang et al., 2023, section 3.3, for a group)
taylor   (sum of gradient x weight over the filters that write it)^2, averaged over batches: the first-order change of
         the loss if the channel were zero (Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019,
         eq. 8, with the bias, since batch norms are folded)
random   a control
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from edgekit.techniques.dependency_groups import TRANSPOSED, Channels, Dependencies
from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node
from edgekit.training.training_data import Batch, TrainingData

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

Importance = Literal["taylor", "l1", "l2", "random"]


def magnitudes(graph_module: GraphModule, dependencies: Dependencies, power: int) -> dict[int, Tensor]:
    """Returns for each free group the sum of |w|^power over the weights of each channel, (C,) float64."""
    import torch

    free = dependencies.free()
    found = {index: torch.zeros(group.channels, dtype=torch.float64) for index, group in free.items()}
    for node, index in dependencies.written.items():
        if (root := dependencies.root(index)) in found:
            axis = 1 if operator_name(node) in TRANSPOSED else 0
            found[root] += _sums(graph_module, node, axis, power)
    for node, channels in dependencies.read.items():
        axis = 0 if operator_name(node) in TRANSPOSED else 1
        _spread(dependencies, channels, _sums(graph_module, node, axis, power), found)
    for node, channels in dependencies.carried.items():
        _spread(dependencies, channels, _sums(graph_module, node, 0, power), found)
    return found


def taylor(
    graph_module: GraphModule, dependencies: Dependencies, data: TrainingData, batches: Iterable[Batch]
) -> dict[int, Tensor]:
    """Returns the Taylor importance of each channel of each free group, (C,) float64.

    Args:
        graph_module: With gradients (`trainable.make_trainable`); takes batches.
        dependencies: Dependencies of the same graph.
        data: Whose loss is looked at.
        batches: To average over.
    """
    import torch

    free = dependencies.free()
    nodes = {node.name: node for node in graph_module.graph.nodes}
    found = {index: torch.zeros(group.channels, dtype=torch.float64) for index, group in free.items()}
    for inputs, target in batches:
        graph_module.zero_grad(set_to_none=True)
        with torch.enable_grad():
            data.loss_of(graph_module(*inputs), target).backward()
        for root, group in free.items():
            change = torch.zeros(group.channels, dtype=torch.float64)
            for writer in group.writers:
                axis = 1 if operator_name(writer) in TRANSPOSED else 0
                for position, argument in enumerate(nodes[writer.name].args[1:3]):
                    tensor = attribute(graph_module, argument) if is_node(argument) else None
                    if tensor is not None and tensor.grad is not None:
                        product = (tensor.grad * tensor.detach()).double()
                        change += (
                            product.transpose(0, axis if position == 0 else 0).flatten(1).sum(1)
                            if (product.ndim > 1)
                            else product
                        )
            found[root] += change**2
    graph_module.zero_grad(set_to_none=True)
    return found


def _sums(graph_module: GraphModule, node: Node, axis: int, power: int) -> Tensor:
    weight = attribute(graph_module, node.args[1]).detach().double().abs() ** power
    return weight.transpose(0, axis).flatten(1).sum(1) if weight.ndim > 1 else weight


def _spread(dependencies: Dependencies, channels: Channels, sums: Tensor, found: dict[int, Tensor]) -> None:
    """Adds sums over a channel axis to the groups that lie along it."""
    start = 0
    for piece in channels.pieces:
        root = dependencies.root(piece.group)
        length = dependencies.group(root).channels * piece.repeat
        if root in found:
            found[root] += sums[start : start + length].reshape(-1, piece.repeat).sum(1)
        start += length
