"""Frees a graph from memory formats: artifacts hold dense row-major tensors only. Runs in a worker that has torch.

`contiguous()`, `clone()` and `to(memory_format=...)` change no value. Without them a `view` behind a transposition can
no longer be one, so it becomes a `reshape`, which copies where it must.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgekit.torch_program.graph_nodes import change_weights, is_in_place, operator_name

if TYPE_CHECKING:
    from torch.fx import GraphModule

_COPIES: Final = frozenset({"contiguous", "clone"})


def use_plain_memory(graph_module: GraphModule) -> None:
    """Removes in place what only changes how values lie in memory, and stores weights row-major.

    A copy that an in-place operator changes later on stays, and so does one that is returned.
    """
    import torch

    graph = graph_module.graph
    if not any(is_in_place(node) for node in graph.nodes):
        results = next(node for node in graph.nodes if node.op == "output").all_input_nodes
        dropped = [node for node in graph.nodes if operator_name(node) in _COPIES and node not in results]
        for node in dropped:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        for node in list(graph.nodes):
            if dropped and node.op == "call_function" and node.target is torch.ops.aten.view.default:
                node.target = torch.ops.aten.reshape.default
    _store_row_major(graph_module)


def _store_row_major(graph_module: GraphModule) -> None:
    """Replaces weights in other layouts (channels_last); the caller's own tensors are left alone."""
    import torch

    change_weights(
        graph_module,
        lambda tensor: tensor.layout == torch.strided and not tensor.is_contiguous(),
        lambda tensor: tensor.contiguous(),
    )
