"""Removes channels from a captured graph. Runs in a worker that has torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.techniques.dependency_groups import TRANSPOSED, Channels, Dependencies
from edgekit.techniques.program_editing import replace_tensor
from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule


def remove_channels(graph_module: GraphModule, dependencies: Dependencies, kept: Mapping[int, Tensor]) -> None:
    """Takes the channels that are not kept out of all weights, in place.

    Shapes in `meta` are stale afterwards: capture the graph anew.

    Args:
        graph_module: The graph that `dependencies` describes, or one with the same nodes.
        dependencies: Its groups.
        kept: Index of a free group to the channels that stay, (n,) int64 in rising order.
    """
    nodes: dict[str, Node] = {node.name: node for node in graph_module.graph.nodes}

    def own(node: Node) -> Node:
        return nodes[node.name]

    for node, index in dependencies.written.items():
        if (root := dependencies.root(index)) in kept:
            axis = 1 if operator_name(node) in TRANSPOSED else 0
            _select(graph_module, own(node).args[1], axis, kept[root])
            if len(node.args) > 2:
                _select(graph_module, own(node).args[2], 0, kept[root])
    for node, channels in dependencies.read.items():
        if (columns := kept_positions(dependencies, channels, kept)) is not None:
            _select(graph_module, own(node).args[1], 0 if operator_name(node) in TRANSPOSED else 1, columns)
    for node, channels in dependencies.carried.items():
        if (places := kept_positions(dependencies, channels, kept)) is not None:
            for argument in own(node).args[1:5]:
                _select(graph_module, argument, 0, places)
            if operator_name(node) != "batch_norm":
                mine = own(node)
                mine.args = (*mine.args[:6], len(places), *mine.args[7:])
    for node, channels in dependencies.reshaped.items():
        mine = own(node)
        if operator_name(mine) in ("view", "reshape") and kept_positions(dependencies, channels, kept) is not None:
            shape = [int(size) for size in node.meta["val"].shape]
            shape[channels.axis] = -1
            mine.args = (mine.args[0], shape, *mine.args[2:])


def kept_positions(dependencies: Dependencies, channels: Channels, kept: Mapping[int, Tensor]) -> Tensor | None:
    """Returns which positions of a channel axis stay, (n,) int64; None where all do."""
    import torch

    roots = [dependencies.root(piece.group) for piece in channels.pieces]
    if not any(root in kept for root in roots):
        return None
    parts: list[Tensor] = []
    start = 0
    for piece, root in zip(channels.pieces, roots, strict=True):
        count = dependencies.group(root).channels
        stays = kept[root] if root in kept else torch.arange(count)
        parts.append((start + stays[:, None] * piece.repeat + torch.arange(piece.repeat)).flatten())
        start += count * piece.repeat
    return torch.cat(parts)


def _select(graph_module: GraphModule, argument: Node, axis: int, places: Tensor) -> None:
    tensor = attribute(graph_module, argument) if is_node(argument) else None
    if tensor is not None:
        replace_tensor(graph_module, argument.target, tensor.detach().index_select(axis, places.to(tensor.device)))
