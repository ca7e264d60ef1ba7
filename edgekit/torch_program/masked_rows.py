"""Gives attention rows that are masked whole the zeros that torch gives them. Runs in a worker that has torch.

A row of scores that sees nothing has no softmax: every value is -inf. torch's attention gives zeros there, exporters
write a softmax over it, and each runtime makes something else of that (a mean of all values, NaN). Here such a row is
opened before the softmax and its result set to zero behind it, in operators that every format has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Graph, Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_ATTENTION: Final = "scaled_dot_product_attention"
_SOFTMAX: Final = "_safe_softmax"
_MASK: Final = 3
"""Place of the mask among the arguments of attention."""


def open_masked_rows(graph_module: GraphModule) -> bool:
    """Rewrites in place attention with a mask, and torch's softmax that knows such rows; returns whether any was.

    A mask that is stored and hides no row whole is left alone.
    """
    found = False
    for node in list(graph_module.graph.nodes):
        name = operator_name(node)
        if name == _ATTENTION and is_node(mask := _mask(node)) and _may_hide_rows(graph_module, mask):
            _open_attention(graph_module.graph, node, mask)
            found = True
        elif name == _SOFTMAX:
            _open_softmax(graph_module.graph, node)
            found = True
    return found


def _mask(node: Node) -> Any:
    return node.args[_MASK] if len(node.args) > _MASK else node.kwargs.get("attn_mask")


def _may_hide_rows(graph_module: GraphModule, mask: Node) -> bool:
    import torch

    stored = attribute(graph_module, mask)
    if stored is None:
        return True
    seen = stored if stored.dtype == torch.bool else stored != -math.inf
    return not bool(seen.any(-1).all())


def _open_attention(graph: Graph, node: Node, mask: Node) -> None:
    """Opens the mask's hidden rows, and clears what attention gives for them."""
    import torch

    aten = torch.ops.aten
    value: Any = mask.meta["val"]
    with graph.inserting_before(node):
        if value.dtype == torch.bool:
            hidden = _hidden_rows(graph, node, mask)
            opened = _call(graph, node, aten.logical_or.default, mask, hidden)
        else:
            seen = _call(graph, node, aten.ne.Scalar, mask, -math.inf)
            hidden = _hidden_rows(graph, node, seen)
            opened = _call(graph, node, aten.masked_fill.Scalar, mask, hidden, 0.0)
    if len(node.args) > _MASK:
        node.args = (*node.args[:_MASK], opened, *node.args[_MASK + 1 :])
    else:
        node.kwargs = {**node.kwargs, "attn_mask": opened}
    _clear_behind(graph, node, node, hidden)


def _open_softmax(graph: Graph, node: Node) -> None:
    """Writes the softmax as one over opened rows, cleared where they were hidden."""
    import torch

    aten = torch.ops.aten
    scores, axis = node.args[:2]
    with graph.inserting_before(node):
        hidden = _hidden_rows(graph, node, _call(graph, node, aten.ne.Scalar, scores, -math.inf), axis)
        opened = _call(graph, node, aten.masked_fill.Scalar, scores, hidden, 0.0)
        shares = _call(graph, node, aten.softmax.int, opened, axis, *node.args[2:])
    node.replace_all_uses_with(shares)
    graph.erase_node(node)
    _clear_behind(graph, shares, shares, hidden)


def _hidden_rows(graph: Graph, like: Node, seen: Node, axis: Any = -1) -> Node:
    """Returns a node that is true for the rows along `axis` in which nothing is seen, with an axis of 1 kept."""
    import torch

    some = _call(graph, like, torch.ops.aten.any.dim, seen, axis, True)
    return _call(graph, like, torch.ops.aten.logical_not.default, some)


def _clear_behind(graph: Graph, like: Node, result: Node, hidden: Node) -> None:
    import torch

    with graph.inserting_after(result):
        cleared = _call(graph, like, torch.ops.aten.masked_fill.Scalar, result, hidden, 0.0)
    result.replace_all_uses_with(cleared, delete_user_cb=lambda user: user is not cleared)


def _call(graph: Graph, like: Node, target: Any, *arguments: Any) -> Node:
    """Returns a new node that belongs to the module of `like`, with the shape of its value."""
    import torch

    shapes = [torch.empty_like(item.meta["val"], device="meta") if is_node(item) else item for item in arguments]
    node = graph.call_function(target, arguments)
    node.meta = {**like.meta, "val": target(*shapes)}
    return node
