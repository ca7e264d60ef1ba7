"""Chooses which channels stay, until a cost is met. Runs in a worker that has torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from edgekit.techniques.dependency_groups import TRANSPOSED, Dependencies, Piece
from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

Scope = Literal["global", "layer"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCost:
    """What a network costs.

    Attributes:
        macs: Multiply-accumulates of one inference.
        parameters: Number of weights of convolutions and linear layers.
    """

    macs: float
    parameters: float


def cost_of(graph_module: GraphModule, dependencies: Dependencies, counts: Mapping[int, int]) -> ChannelCost:
    """Returns what the graph costs with so many channels in each group; groups that are not named keep theirs.

    Args:
        graph_module: The graph with all of its channels.
        dependencies: Its groups.
        counts: Index of a free group to its number of channels.
    """

    def share(pieces: Iterable[Piece]) -> float:
        full = kept = 0
        for piece in pieces:
            root = dependencies.root(piece.group)
            channels = dependencies.group(root).channels
            full += channels * piece.repeat
            kept += counts.get(root, channels) * piece.repeat
        return kept / full

    macs = parameters = 0.0
    for node in graph_module.graph.nodes:
        weight = attribute(graph_module, node.args[1]) if _is_layer(node) and is_node(node.args[1]) else None
        if weight is None:
            continue
        left = 1.0
        if node in dependencies.written:
            root = dependencies.root(dependencies.written[node])
            channels = dependencies.group(root).channels
            left *= counts.get(root, channels) / channels
        for held in (dependencies.read.get(node), dependencies.carried.get(node)):
            left *= share(held.pieces) if held is not None else 1.0
        macs += left * _macs(node, weight)
        parameters += left * weight.numel()
    return ChannelCost(macs=macs, parameters=parameters)


def choose_counts(
    importance: Mapping[int, Tensor],
    groups: Mapping[int, int],
    cost: Callable[[Mapping[int, int]], float],
    limit: float,
    *,
    scope: Scope,
    multiple: int,
    least: float,
    tries: int,
) -> dict[int, int]:
    """Returns how many channels each group keeps: the most with which the cost stays within the limit.

    Args:
        importance: Importance of each channel of each group, comparable between groups.
        groups: Index to number of channels.
        cost: Cost of a choice; it must not fall when channels are added.
        limit: Highest cost.
        scope: `global` ranks all channels together; `layer` takes the same share of each group.
        multiple: Numbers of channels are rounded up to it: kernels compute so many at a time.
        least: Share of its channels that each group keeps at least.
        tries: Halvings of the interval in which the choice is looked for.

    Returns:
        The choice; where even the smallest costs more than the limit, that one.
    """
    import torch

    every = torch.cat([importance[index] for index in groups]).sort().values

    def counts(share: float) -> dict[int, int]:
        found: dict[int, int] = {}
        cut = float(every[min(len(every) - 1, int(share * len(every)))]) if share < 1 else math.inf
        for index, channels in groups.items():
            wanted = channels * (1 - share) if scope == "layer" else int((importance[index] >= cut).sum())
            wanted = max(wanted, least * channels, 1)
            found[index] = min(channels, multiple * math.ceil(wanted / multiple - 1e-9))
        return found

    low, high = 0.0, 1.0
    if cost(counts(low)) <= limit:
        return counts(low)
    for _ in range(tries):
        middle = (low + high) / 2
        if cost(counts(middle)) <= limit:
            high = middle
        else:
            low = middle
    return counts(high)


def strongest(importance: Mapping[int, Tensor], counts: Mapping[int, int]) -> dict[int, Tensor]:
    """Returns the most important channels of each group that loses some, (n,) int64 in rising order."""
    return {
        index: importance[index].topk(count).indices.sort().values
        for index, count in counts.items()
        if count < len(importance[index])
    }


def normalised(importance: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Returns importances over their group's mean, so that groups of different size can be compared."""
    return {index: values / values.mean().clamp(min=1e-30) for index, values in importance.items()}


def _is_layer(node: Node) -> bool:
    name = operator_name(node)
    return name.startswith("conv") or name == "linear"


def _macs(node: Node, weight: Tensor) -> float:
    """Each position of the output (of the input, where transposed) meets each weight of its channel once."""
    if operator_name(node) == "linear":
        return float(math.prod(node.meta["val"].shape[:-1]) * weight.numel())
    spatial = (node.args[0] if operator_name(node) in TRANSPOSED else node).meta["val"].shape[2:]
    return float(math.prod(spatial) * weight.numel())
