"""Replaces in-place operators by ones that return a new tensor. Runs in a worker that has torch.

`x[:, 1:3] = y` changes x through a view. What x is then is computed with `slice_scatter` and `select_scatter`, view by
view, and whoever reads x later reads that. Where another view of x is read later on, the operator stays in place.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import ModelError
from edgekit.torch_program.graph_nodes import is_in_place, is_node, is_view, operator_name, viewed
from edgekit.torch_program.torch_protocols import Graph, Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_SCATTERED: Final = {"slice": "slice_scatter", "select": "select_scatter"}
"""Views that values can be put back through."""

_ALIASES: Final = frozenset({"alias", "detach"})


def make_functional(graph_module: GraphModule, title: str) -> None:
    """Replaces in-place operators in a graph, where nobody else reads what they change by another view.

    Raises:
        ModelError: the model changes a parameter of its own.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if not is_in_place(node) or not node.args or not is_node(node.args[0]):
            continue
        chain = viewed(node.args[0])
        if chain[-1].op == "get_attr":
            raise ModelError(
                f'{title}: the model changes its own tensor "{chain[-1].target}" ({node.target}) when it runs. '
                f'Only a buffer can be a state that goes from call to call: self.register_buffer("{chain[-1].target}", '
                "...), or make it an input and an output."
            )
        functional = _functional(node)
        if functional is None or not _can_be_put_back(chain) or _is_read_otherwise(graph, node, chain):
            continue
        with graph.inserting_before(node):
            new = graph.call_function(functional, node.args, node.kwargs)
            new.meta = dict(node.meta)
            whole = _put_back(chain, new)
        order = {n: i for i, n in enumerate(graph.nodes)}
        node.replace_all_uses_with(new)
        # Whoever reads a changed tensor by its old name, later on, reads the new one.
        for old, changed in zip(chain, whole, strict=True):
            old.replace_all_uses_with(
                changed, delete_user_cb=lambda user, limit=order[node], order=order: order[user] > limit
            )
        graph.erase_node(node)
    graph.lint()


def _functional(node: Node) -> Any:
    """Returns the operator `relu.default` for a node of `relu_.default`, or None if there is none.

    It is the overload with the same arguments, which bears another name for some: `pow_.Scalar` is `pow.Tensor_Scalar`.
    """
    import torch

    name = operator_name(node)
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    own = str(node.target).rpartition(".")[2]
    names = [] if packet is None else sorted(packet.overloads(), key=lambda overload: overload != own)
    found = (getattr(packet, overload) for overload in names)
    return next((operator for operator in found if _arguments(operator) == _arguments(node.target)), None)


def _arguments(operator: Any) -> list[tuple[str, str]]:
    return [(item.name, str(item.type)) for item in operator._schema.arguments]  # noqa: SLF001  there is no public way


def _can_be_put_back(chain: list[Node]) -> bool:
    return all(operator_name(view) in _SCATTERED for view in chain[:-1])


def _is_read_otherwise(graph: Graph, node: Node, chain: list[Node]) -> bool:
    """Returns whether a view outside the chain shows the changed tensor and is read after the change."""
    order = {n: i for i, n in enumerate(graph.nodes)}
    waiting = [user for view in chain for user in view.users if is_view(user) and user not in chain]
    while waiting:
        view = waiting.pop()
        if order[view] > order[node]:
            continue  # made after the change, of the new tensor
        if any(order[user] > order[node] for user in view.users) or operator_name(view) in _ALIASES:
            return True
        waiting.extend(user for user in view.users if is_view(user))
    return False


def _put_back(chain: list[Node], new: Node) -> list[Node]:
    """Returns what each tensor of a chain of views is after the change; `new` is what the first of them is."""
    import torch

    made = [new]
    for view, base in itertools.pairwise(chain):
        operator = getattr(torch.ops.aten, _SCATTERED[operator_name(view)]).default
        node = new.graph.call_function(operator, (base, made[-1], *view.args[1:]), dict(view.kwargs))
        node.meta = {**new.meta, "val": base.meta.get("val")}
        made.append(node)
    return made
