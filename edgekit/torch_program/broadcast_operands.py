"""Expanded operands of operators that broadcast anyway. Runs in a worker that has torch.

`y * (1 - w.expand_as(y))` computes the same as `y * (1 - w)`, without copies of `w`: an expansion moves behind
operators of one operand, and vanishes before operators of several whose result keeps its shape without it. LiteRT's
converter turns an expansion between convolutions into a graph of its own that does not fit together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgekit.torch_program.graph_nodes import is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_EXPANSIONS: Final = frozenset({"expand", "expand_as"})

_BROADCAST: Final = frozenset({
    "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "pow", "where", "eq", "ne", "lt", "le", "gt", "ge",
    "logical_and", "logical_or",
})  # fmt: skip
"""Operators that broadcast their operands; with a number for the other operand they have one."""

_OF_ONE: Final = frozenset({
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "reciprocal", "relu", "relu6", "sigmoid", "tanh", "silu", "gelu",
    "hardsigmoid", "hardswish", "hardtanh", "clamp", "square", "logical_not", "to", "_to_copy",
})  # fmt: skip
"""Operators of one operand that treat each element by itself."""


def use_broadcasting(graph_module: GraphModule) -> int:
    """Takes expansions out in place where what reads them broadcasts; returns how many readers changed."""
    graph = graph_module.graph
    waiting = [node for node in graph.nodes if operator_name(node) in _EXPANSIONS]
    count = 0
    while waiting:
        expansion = waiting.pop()
        source = expansion.args[0]
        if not is_node(source) or not _is_fixed(expansion) or not _is_fixed(source):
            continue
        for reader in list(expansion.users):
            if _keeps_its_shape(reader, expansion, source):
                reader.replace_input_with(expansion, source)
                count += 1
            elif _is_of_one(reader, expansion):
                waiting.append(_moved_behind(reader, expansion, source))
                count += 1
    graph.eliminate_dead_code()
    return count


def _is_fixed(node: Node) -> bool:
    value = node.meta.get("val")
    return value is not None and all(type(size) is int for size in value.shape)


def _operands(node: Node) -> list[Node]:
    return [one for one in node.args if is_node(one)]


def _is_of_one(reader: Node, expansion: Node) -> bool:
    name = operator_name(reader)
    return (name in _OF_ONE or name in _BROADCAST) and _operands(reader) == [expansion] and _is_fixed(reader)


def _keeps_its_shape(reader: Node, expansion: Node, source: Node) -> bool:
    """Returns True if an operator of several operands gives the same shape from what was expanded."""
    import torch

    operands = _operands(reader)
    if operator_name(reader) not in _BROADCAST or not all(_is_fixed(one) for one in (reader, *operands)):
        return False
    shapes = [(source if one is expansion else one).meta["val"].shape for one in operands]
    return len(operands) > 1 and tuple(torch.broadcast_shapes(*shapes)) == tuple(reader.meta["val"].shape)


def _moved_behind(reader: Node, expansion: Node, source: Node) -> Node:
    """Lets an operator of one operand read what was expanded, and returns the expansion of its result."""
    import torch

    shape = list(reader.meta["val"].shape)
    with reader.graph.inserting_after(reader):
        moved = reader.graph.call_function(torch.ops.aten.expand.default, (reader, shape))
    moved.meta = dict(reader.meta)
    reader.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)
    reader.replace_input_with(expansion, source)
    reader.meta = {**reader.meta, "val": reader.meta["val"].new_empty(source.meta["val"].shape)}
    return moved
