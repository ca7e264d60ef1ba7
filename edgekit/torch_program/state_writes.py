"""Writes the operators by which torch's functional form changes part of a tensor as every converter knows them.

`cache[:, :, a:b] = x` becomes slice_scatter, `cache[i] = x` select_scatter, `index_copy_` with one position index_copy,
and an assignment copy. They become concatenations and selections by a mask. Runs in a worker that has torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.graph_nodes import operator_name
from edgekit.torch_program.torch_protocols import Graph, Node

if TYPE_CHECKING:
    from torch.fx import GraphModule


def write_plainly(graph_module: GraphModule) -> int:
    """Rewrites in place what is named above; returns how many operators."""
    graph: Graph = graph_module.graph
    count = 0
    for node in list(graph.nodes):
        rewrite = _REWRITES.get(operator_name(node)) if node.op == "call_function" else None
        if rewrite is None:
            continue
        with graph.inserting_before(node):
            new = rewrite(graph, node)
        if new is None:
            continue
        new.meta = {**node.meta, "val": new.meta.get("val", node.meta.get("val"))}
        node.replace_all_uses_with(new)
        graph.erase_node(node)
        count += 1
    if count:
        graph.eliminate_dead_code()
        graph_module.recompile()
    return count


def _call(graph: Graph, operator: Callable[..., object], *args: object) -> Node:
    return graph.call_function(operator, args)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


def _argument(node: Node, place: int, name: str, default: object) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _copy(graph: Graph, node: Node) -> Node | None:
    """`copy(old, new)` is `new` with the old one's dtype and shape."""
    import torch

    old, new = node.args[0], node.args[1]
    value, source = old.meta["val"], new.meta["val"]
    if source.dtype != value.dtype:
        new = graph.call_function(torch.ops.aten.to.dtype, (new, value.dtype))
    if source.shape != value.shape:
        new = _call(graph, torch.ops.aten.expand.default, new, list(_shape(old)))
    return _call(graph, torch.ops.aten.alias.default, new)


def _slice_scatter(graph: Graph, node: Node) -> Node | None:
    """A part between two positions becomes a concatenation of what lies before it, the part, and what lies behind."""
    import torch

    whole, part = node.args[0], node.args[1]
    axis, start = int(_argument(node, 2, "dim", 0)), _argument(node, 3, "start", None)
    end, step = _argument(node, 4, "end", None), _argument(node, 5, "step", 1)
    size = _shape(whole)[axis]
    if step != 1:
        return None
    first = _within(0 if start is None else start, size)
    last = max(first, _within(size if end is None else end, size))
    return _between(graph, whole, part, axis, first, last, torch.ops.aten)


def _select_scatter(graph: Graph, node: Node) -> Node | None:
    """One position along an axis becomes a part of length 1."""
    import torch

    whole, part, axis, place = node.args[0], node.args[1], int(node.args[2]), int(node.args[3])
    axis %= len(_shape(whole))
    first = place % _shape(whole)[axis]
    wide = _call(graph, torch.ops.aten.unsqueeze.default, part, axis)
    return _between(graph, whole, wide, axis, first, first + 1, torch.ops.aten)


def _between(graph: Graph, whole: Node, part: Node, axis: int, first: int, last: int, aten: Any) -> Node:
    size = _shape(whole)[axis]
    pieces = [_call(graph, aten.slice.Tensor, whole, axis, 0, first)] if first else []
    pieces.append(part)
    if last < size:
        pieces.append(_call(graph, aten.slice.Tensor, whole, axis, last, size))
    return _call(graph, aten.cat.default, pieces, axis) if len(pieces) > 1 else _call(graph, aten.alias.default, part)


def _within(place: int, size: int) -> int:
    return min(max(place + size if place < 0 else place, 0), size)


def _index_copy(graph: Graph, node: Node) -> Node | None:
    """A write to one position becomes a selection: the new values where the position is, the old ones elsewhere."""
    import torch

    aten = torch.ops.aten
    whole, axis, index, part = node.args[0], int(node.args[1]), node.args[2], node.args[3]
    shape = _shape(whole)
    if not shape or _shape(index) not in ((), (1,)):
        return None
    axis %= len(shape)
    places = graph.call_function(aten.arange.default, (shape[axis],), {"dtype": torch.int64})
    wide = [1] * len(shape)
    wide[axis] = shape[axis]
    column = _call(graph, aten.reshape.default, places, wide)
    at = _call(graph, aten.reshape.default, index, [1] * len(shape))
    here = _call(graph, aten.eq.Tensor, column, at)
    return _call(graph, aten.where.self, here, part, whole)


def _index_put(graph: Graph, node: Node) -> Node | None:
    """`cache[:, position] = x` with one position is `index_copy`; anything else stays."""
    import torch

    aten = torch.ops.aten
    whole, indices, part = node.args[0], list(node.args[1]), node.args[2]
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or _argument(node, 3, "accumulate", False):
        return None
    axis, index = given[0], indices[given[0]]
    if index.meta["val"].dtype == torch.bool or _shape(index) not in ((), (1,)):
        return None
    shape = list(_shape(whole))
    shape[axis] = 1
    missing = [1] * (len(shape) - (0 if _shape(index) else 1) - len(_shape(part)))
    # Without an axis for a 0-dimensional position, the values lack that axis.
    flat = [*missing, *_shape(part)]
    if not _shape(index):
        flat.insert(axis, 1)
    wide = _call(graph, aten.reshape.default, part, flat)
    wide.meta["val"] = part.meta["val"].reshape(flat)
    stand_in = graph.call_function(aten.index_copy.default, (whole, axis, index, wide))
    made = _index_copy(graph, stand_in)
    graph.erase_node(stand_in)
    return made


def _batch_norm(graph: Graph, node: Node) -> Node | None:
    """Batch normalization at inference, in the form that the rewrites behind this one know."""
    import operator

    import torch

    values, weight, bias, mean, variance, momentum, epsilon = node.args
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in node.users):
        return None
    new = graph.call_function(
        torch.ops.aten.batch_norm.default,
        (values, weight, bias, mean, variance, False, momentum, epsilon, False),
    )
    for user in list(node.users):
        new.meta["val"] = user.meta.get("val")
        user.replace_all_uses_with(new)
        graph.erase_node(user)
    return new


_REWRITES: Final[dict[str, Callable[[Graph, Node], Node | None]]] = {
    "copy": _copy,
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "index_copy": _index_copy,
    "index_put": _index_put,
    "_native_batch_norm_legit_no_training": _batch_norm,
}
