"""Computes what does not depend on the inputs once, at capture. Runs in a worker that has torch.

Masks made of arange and comparisons, weight normalisation, and so on: converters and quantizers then meet plain
weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from edgekit.torch_program.graph_nodes import attribute, is_in_place, is_view, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_SMALL: Final = 1 << 16
"""A result of up to this many elements is stored even where it is larger than what it was computed from."""

_UNIFORM: Final = frozenset({"zeros", "ones", "full", "scalar_tensor"})
"""Makers of one value, which every format can hold as floats; coremltools makes floats of the others too."""

_COUNTING: Final = frozenset(
    {"arange", "eye", "linspace", "logspace", "tril_indices", "triu_indices"}
    | {f"{window}_window" for window in ("bartlett", "blackman", "hamming", "hann", "kaiser")}
)
"""Makers whose values differ: not every format has an operator for them (TFLite cannot run STABLEHLO_IOTA)."""

_SHAPED: Final = frozenset({"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"})
"""Makers that read only the shape and the dtype of their input, and shapes are fixed."""

_COPIES: Final = frozenset({"clone", "to", "_to_copy", "contiguous"})


def fold_constants(graph_module: GraphModule, changed: Collection[Node] = ()) -> int:
    """Replaces in place every operator that depends on no input by its value; returns how many values were stored.

    A weight that is only viewed, transposed or sliced stays as it is: storing it again would untie it.

    Args:
        graph_module: The module of an ExportedProgram (parameters are `get_attr` nodes).
        changed: Nodes whose tensors an in-place operator changes: their first value is not the one that is read.
    """
    import torch
    from torch.fx.node import map_arg

    values: dict[Node, Tensor] = {}
    computed: set[Node] = set()
    stored = number = 0
    for node in list(graph_module.graph.nodes):
        if node.op == "get_attr":
            tensor = attribute(graph_module, node)
            if isinstance(tensor, torch.Tensor):
                values[node] = tensor.detach()
        elif node not in changed and _is_constant(node, values):
            with torch.no_grad():
                arguments = map_arg((node.args, node.kwargs), lambda n: values[n] if n in values else _like(n))
                values[node] = node.target(*arguments[0], **arguments[1])
            uniform = operator_name(node) in _UNIFORM and values[node].is_floating_point()
            plain = uniform or is_view(node) or operator_name(node) in _COPIES
            if not plain or any(n in computed for n in node.all_input_nodes):
                computed.add(node)
    for node in list(graph_module.graph.nodes):
        if node in computed and any(user not in computed for user in node.users) and _is_worth(node, values):
            while hasattr(graph_module, f"folded_constant_{number}"):
                number += 1
            constant = _store(graph_module, node, values[node], f"folded_constant_{number}")
            values[constant] = values[node]  # what follows may be computed from it
            stored += 1
    graph_module.graph.lint()
    return stored


def _is_constant(node: Node, values: dict[Node, Tensor]) -> bool:
    import torch

    name = operator_name(node)
    if not name or is_in_place(node) or torch.Tag.nondeterministic_seeded in node.target.tags:
        return False
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    # Quantized weights stay quantized.
    if "quantize" in name:
        return False
    inputs = node.all_input_nodes
    if name in _SHAPED:
        return all(n in values or n is node.args[0] for n in inputs)
    return all(n in values for n in inputs) and (bool(inputs) or name in _UNIFORM | _COUNTING)


def _like(node: Node) -> Tensor:
    """Returns a tensor of a node's shape and dtype, for operators that read no value of it."""
    import torch

    value = node.meta["val"]
    return torch.empty(tuple(int(size) for size in value.shape), dtype=value.dtype)


def _is_worth(node: Node, values: dict[Node, Tensor]) -> bool:
    """Returns whether the value is small, or no larger than the weights that it is computed from."""
    size = values[node].numel()
    if size <= _SMALL:
        return True
    sources: set[Node] = set()
    stack = list(node.all_input_nodes)
    while stack:
        one = stack.pop()
        if one not in sources:
            sources.add(one)
            stack.extend(one.all_input_nodes)
    return bool(size <= sum(values[n].numel() for n in sources if n.op == "get_attr"))


def _store(graph_module: GraphModule, node: Node, value: Tensor, name: str) -> Node:
    """Puts a value in the place of a node and returns the node that holds it."""
    graph_module.register_buffer(name, value.clone().contiguous())
    with node.graph.inserting_before(node):
        constant = node.graph.get_attr(name)
    constant.meta = {key: item for key, item in node.meta.items() if key != "from_node"}
    node.replace_all_uses_with(constant)
    node.graph.erase_node(node)
    return constant
