"""Puts the bodies of autocast and no_grad blocks in the place of their calls. Runs in a worker that has torch.

torch.export keeps `with torch.autocast(...)` and `with torch.no_grad()` as calls of a graph inside the graph. In a
float32 inference graph both do nothing: what a block computes is what its body computes.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

from edgekit.torch_program.graph_nodes import attribute
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

REGIONS: Final = {"wrap_with_autocast": 4, "wrap_with_set_grad_enabled": 1}
"""Name of the higher-order operator to the place of the body among its arguments; the body's own inputs follow."""


def region_place(node: Node) -> int | None:
    """Returns where the body of a block lies among a node's arguments, None for a node that is no such block."""
    from torch._ops import HigherOrderOperator

    if node.op != "call_function" or not isinstance(node.target, HigherOrderOperator):
        return None
    return REGIONS.get(str(node.target.name()))


def inline_regions(graph_module: GraphModule) -> int:
    """Replaces in place every autocast and no_grad block by its body, blocks inside blocks too.

    Returns:
        How many blocks were replaced.
    """
    count = 0
    while blocks := [node for node in graph_module.graph.nodes if region_place(node) is not None]:
        for node in blocks:
            _inline(graph_module, node)
        count += len(blocks)
    if count:
        graph_module.graph.eliminate_dead_code()
        graph_module.delete_all_unused_submodules()
        graph_module.recompile()
    return count


def _inline(graph_module: GraphModule, call: Node) -> None:
    place = region_place(call) or 0
    body_node, *arguments = call.args[place:]
    body = attribute(graph_module, body_node)
    inputs = (node for node in body.graph.nodes if node.op == "placeholder")
    copies = dict(zip(inputs, arguments, strict=True))
    with call.graph.inserting_before(call):
        for node in body.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            copies[node] = graph_module.graph.node_copy(node, lambda inner: copies[inner])
            if node.op == "get_attr":  # the body's own tensors and graphs are found from outside by a longer path
                copies[node].target = f"{body_node.target}.{node.target}"
    results = next(node for node in body.graph.nodes if node.op == "output").args[0]
    for user in list(call.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(copies[results[user.args[1]]])
            user.graph.erase_node(user)
    if call.users:
        call.replace_all_uses_with(copies[results[0] if isinstance(results, (tuple, list)) else results])
    call.graph.erase_node(call)
