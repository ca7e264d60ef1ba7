"""Activations that a model spells out in arithmetic, under their own names. Runs in a worker that has torch.

A hard swish is x * relu6(x + 3) / 6 in models that are older than torch's own operator, and in ONNX files of operator
sets before 14. Spelled out it is five operators over the whole tensor; named, each format has one for it, and static
INT8 gives it two grids instead of five, of which the product's would span six times the range of what comes out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_SHIFT: Final = 3.0
_WIDTH: Final = 6.0
_SAME: Final = 1e-5
"""Difference of two constants, relative to their size, that rounding to float32 makes."""

_CLAMPS: Final = frozenset({"hardtanh", "clamp"})


def name_activations(graph_module: GraphModule) -> int:
    """Replaces in place relu6(x + 3) / 6 by a hard sigmoid, and x times that by a hard swish; returns how many.

    The division, or the product with the reciprocal, may stand behind the product with x too.
    """
    import torch

    graph = graph_module.graph
    aten = torch.ops.aten
    count = 0
    for node in list(graph.nodes):
        source = _shifted_and_bounded(graph_module, node)
        reader = _only_reader(node)
        if source is None or reader is None:
            continue
        last = _only_reader(reader) if operator_name(reader) == "mul" else None
        if _is_divided(graph_module, reader, node):
            _become(reader, aten.hardsigmoid.default, (source,))
        elif last is not None and _is_divided(graph_module, last, reader):
            with reader.graph.inserting_before(reader):
                gate = reader.graph.call_function(aten.hardsigmoid.default, (source,))
            gate.meta = dict(node.meta)
            reader.replace_input_with(node, gate)
            last.replace_all_uses_with(reader)
        else:
            continue
        count += 1
    count += sum(_name_product(node, aten.hardswish.default) for node in list(graph.nodes))
    graph.eliminate_dead_code()
    return count


def _name_product(node: Node, hardswish: Any) -> bool:
    """Makes x * hardsigmoid(x) a hard swish."""
    if operator_name(node) != "mul" or node.kwargs or not all(map(is_node, node.args)):
        return False
    for gate, source in (node.args, node.args[::-1]):
        if operator_name(gate) == "hardsigmoid" and gate.args[0] is source and len(gate.users) == 1:
            _become(node, hardswish, (source,))
            return True
    return False


def _shifted_and_bounded(graph_module: GraphModule, node: Node) -> Node | None:
    """Returns x of relu6(x + 3), None for anything else."""
    name = operator_name(node)
    if name != "relu6" and not (name in _CLAMPS and list(node.args[1:]) == [0.0, _WIDTH] and not node.kwargs):
        return None
    added = node.args[0]
    if operator_name(added) != "add" or len(added.users) != 1 or added.kwargs:
        return None
    return _other_factor(graph_module, added, _SHIFT)


def _is_divided(graph_module: GraphModule, node: Node, source: Node) -> bool:
    """Returns True for source / 6, and for source times a sixth."""
    name = operator_name(node)
    if name == "div":
        whole = node.args[0] is source and not node.kwargs and _shape(node) == _shape(source)
        return whole and _is_number(graph_module, node.args[1], _WIDTH)
    return name == "mul" and _other_factor(graph_module, node, 1 / _WIDTH) is source


def _other_factor(graph_module: GraphModule, node: Node, number: float) -> Node | None:
    """Returns the tensor of a sum or a product of a tensor and this number, None for any other."""
    for tensor, constant in (node.args[:2], node.args[1::-1]):
        # A constant of more axes than the tensor would change its shape.
        if is_node(tensor) and _is_number(graph_module, constant, number) and _shape(tensor) == _shape(node):
            return tensor
    return None


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _is_number(graph_module: GraphModule, value: Any, number: float) -> bool:
    stored = attribute(graph_module, value)
    if stored is not None and stored.numel() == 1:
        value = stored.item()
    return isinstance(value, (int, float)) and math.isclose(value, number, rel_tol=_SAME)


def _only_reader(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _become(node: Node, operator: Any, arguments: tuple[Node, ...]) -> None:
    node.target, node.args, node.kwargs = operator, arguments, {}
