"""Writes `&`, `|`, `^` and `~` on boolean tensors as logical operators. Runs in a worker that has torch.

Masks are joined with `&`, which torch keeps as a bitwise operator; Core ML's frontend knows only the logical one. On
booleans both compute the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgekit.torch_program.graph_nodes import is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_LOGICAL: Final = {
    "__and__": "logical_and",
    "__or__": "logical_or",
    "__xor__": "logical_xor",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "bitwise_not": "logical_not",
}


def use_logical_operators(graph_module: GraphModule) -> None:
    """Replaces in place every bitwise operator whose operands are all boolean tensors."""
    import torch

    for node in list(graph_module.graph.nodes):
        name = _LOGICAL.get(operator_name(node))
        if name is None or not all(is_node(value) and _is_boolean(value) for value in node.args):
            continue
        with graph_module.graph.inserting_before(node):
            new = graph_module.graph.call_function(getattr(torch.ops.aten, name).default, node.args)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph_module.graph.erase_node(node)


def _is_boolean(node: Node) -> bool:
    import torch

    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool
