"""Puts the graphs inside a graph in the place of their calls. Runs in a worker that has torch.

torch.export keeps `with torch.autocast(...)` and `with torch.no_grad()` as calls of a graph inside the graph. In a
float32 inference graph both do nothing: what a block computes is what its body computes. `torch.cond` is a call of two
graphs. Both are computed, and `torch.where` takes the one that the condition names: the same numbers, in every format,
for the work of both. A condition on sizes is no tensor: where it is the same at every size, its side is taken.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.graph_nodes import attribute
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_REGIONS: Final = {"wrap_with_autocast": (4,), "wrap_with_set_grad_enabled": (1,), "cond": (1, 2)}
"""Name of the higher-order operator to the places of the bodies among its arguments; their own inputs follow."""

BRANCHES: Final = 2
"""Bodies of a call that chooses between them."""


def body_places(node: Node) -> tuple[int, ...]:
    """Returns where the bodies of a block or branch lie among a node's arguments; none for a node that is neither."""
    from torch._ops import HigherOrderOperator

    if node.op != "call_function" or not isinstance(node.target, HigherOrderOperator):
        return ()
    return _REGIONS.get(str(node.target.name()), ())


def known_side(branch: Node) -> bool | None:
    """Returns whether a branch takes its first side at every size; None where values or open sizes decide."""
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    condition = _condition(branch)
    if isinstance(condition, torch.SymBool):
        if statically_known_true(condition):
            return True
        return False if statically_known_true(torch.sym_not(condition)) else None
    return condition if isinstance(condition, bool) else None


def depends_on_sizes(branch: Node) -> bool:
    """Returns whether sizes decide between the sides of a branch, and both are taken at some size within the bounds."""
    import torch

    return isinstance(_condition(branch), torch.SymBool) and known_side(branch) is None


def _condition(branch: Node) -> object:
    """Returns the value of a branch's condition as torch knows it: a tensor without values, a number of sizes."""
    condition = branch.args[0]
    return condition.meta.get("val") if hasattr(condition, "meta") else condition


def inline_regions(graph_module: GraphModule) -> int:
    """Replaces in place every autocast and no_grad block and every branch by its bodies, those inside others too.

    Returns:
        How many were replaced.
    """
    count = 0
    while calls := [node for node in graph_module.graph.nodes if body_places(node)]:
        for node in calls:
            _inline(graph_module, node)
        count += len(calls)
    if count:
        graph_module.graph.eliminate_dead_code()
        graph_module.delete_all_unused_submodules()
        graph_module.recompile()
    return count


def _inline(graph_module: GraphModule, call: Node) -> None:
    places = body_places(call)
    side = known_side(call) if len(places) == BRANCHES else None
    arguments = call.args[places[-1] + 1 :]
    if len(places) == BRANCHES:
        (arguments,) = arguments
    with call.graph.inserting_before(call):
        taken = places if side is None else places[:1] if side else places[1:]
        bodies = [_copy_of_body(graph_module, call.args[place], arguments) for place in taken]
        results = bodies[0] if len(bodies) == 1 else _chosen(call, *bodies)
    for user in list(call.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])
            user.graph.erase_node(user)
    if call.users:
        call.replace_all_uses_with(results[0])
    call.graph.erase_node(call)


def _copy_of_body(graph_module: GraphModule, body_node: Node, arguments: Sequence[Any]) -> list[Any]:
    """Copies a body's nodes to the place of insertion and returns its results."""
    body = attribute(graph_module, body_node)
    inputs = (node for node in body.graph.nodes if node.op == "placeholder")
    copies = dict(zip(inputs, arguments, strict=True))
    for node in body.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        copies[node] = graph_module.graph.node_copy(node, lambda inner: copies[inner])
        if node.op == "get_attr":  # the body's own tensors and graphs are found from outside by a longer path
            copies[node].target = f"{body_node.target}.{node.target}"
    results = next(node for node in body.graph.nodes if node.op == "output").args[0]
    return [copies[result] for result in (results if isinstance(results, (tuple, list)) else [results])]


def _chosen(call: Node, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """Returns nodes that choose between two bodies' results."""
    import torch

    aten, graph, condition = torch.ops.aten, call.graph, call.args[0]
    if condition.meta["val"].ndim:  # one element under some axes, which would add them to the results
        condition = graph.call_function(aten.reshape.default, (condition, []))
    results: list[Any] = []
    for one, other in zip(first, second, strict=True):
        results.append(graph.call_function(aten.where.self, (condition, one, other)))
        results[-1].meta = dict(one.meta)
    return results
