"""Replaces calls of operators by what a rewrite computes with others. Runs in a worker that has torch.

A rewrite is a function of torch; it is traced with the shapes of the call, and the traced operators take the call's
place. They keep its layer and line, so that names of modules and messages stay right.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from edgekit.torch_program.graph_nodes import attribute, is_in_place, is_node, operator_name
from edgekit.torch_program.rewrites.call import Call, Function, Rewrite
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_KEPT: Final = ("nn_module_stack", "stack_trace", "source_fn_stack")
"""What a new node takes over from the one that it replaces: where it stands in the user's model."""


def replace_operators(graph_module: GraphModule, rewrites: Mapping[str, Rewrite]) -> int:
    """Replaces in place the calls that a table of rewrites has an entry for.

    Args:
        graph_module: The module of an ExportedProgram; every node has `meta["val"]`.
        rewrites: By `operator` or, for one overload alone, `operator.overload`, which comes first.

    Returns:
        How many calls were replaced.
    """
    count = 0
    for node in list(graph_module.graph.nodes):
        name = operator_name(node)
        rewrite = rewrites.get(f"{name}.{str(node.target).rpartition('.')[2]}") or rewrites.get(name)
        if not name or rewrite is None or is_in_place(node):
            continue
        call = _call(graph_module, node)
        function = rewrite(call)
        if function is None:
            continue
        given = list(tensors_in(_in_order(node).values()))
        replace_results(node, insert_traced(graph_module, node, function, given))
        count += 1
    if count:
        graph_module.graph.eliminate_dead_code()
        graph_module.graph.lint()
        graph_module.recompile()
    return count


def insert_traced(graph_module: GraphModule, before: Node, function: Function, given: Sequence[Node]) -> list[Node]:
    """Puts the operators of a function in front of a node, whose layer and line they get.

    Args:
        graph_module: The module of an ExportedProgram.
        before: The node.
        function: A function of tensors that returns a tensor or a tuple of them.
        given: Nodes of its tensors.

    Returns:
        The nodes of what it returns.
    """
    body = _traced(function, [node.meta["val"] for node in given])
    inputs = [node for node in body.graph.nodes if node.op == "placeholder"]
    copies: dict[Any, Any] = dict(zip(inputs, given, strict=True))
    with before.graph.inserting_before(before):
        for node in body.graph.nodes:
            if node.op in ("placeholder", "output", "call_module"):
                continue
            copies[node] = new = graph_module.graph.node_copy(node, lambda inner: copies[inner])
            new.meta = {**{key: before.meta[key] for key in _KEPT if key in before.meta}, "val": node.meta.get("val")}
            if node.op == "get_attr":
                value = attribute(body, node).detach().clone()
                new.target, new.meta["val"] = _stored(graph_module, value), value
    results = next(node for node in body.graph.nodes if node.op == "output").args[0]
    return [copies[item] for item in (results if isinstance(results, (tuple, list)) else (results,))]


def replace_results(call: Node, results: Sequence[Node]) -> None:
    """Makes the readers of a call read other nodes, and removes the call."""
    for user in list(call.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])
            user.graph.erase_node(user)
    if call.users:
        call.replace_all_uses_with(results[0])
    call.graph.erase_node(call)


def tensors_in(arguments: Iterable[Any]) -> Iterator[Any]:
    """Yields the tensors among arguments, or the nodes that stand for them, in order, those in lists too."""
    for value in arguments:
        if isinstance(value, (list, tuple)):
            yield from tensors_in(value)
        elif is_node(value) or hasattr(value, "shape"):
            yield value


def _in_order(node: Node) -> dict[str, Any]:
    """Returns the arguments of a call by name, in the schema's order, with defaults."""
    named: dict[str, Any] = {}
    for place, argument in enumerate(node.target._schema.arguments):  # noqa: SLF001  there is no public way
        if place < len(node.args) and not argument.kwarg_only:
            named[argument.name] = node.args[place]
        else:
            named[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return named


def _call(graph_module: GraphModule, node: Node) -> Call:
    from torch.fx.node import map_arg

    named = _in_order(node)
    constants = {
        name: value.detach()
        for name, given in named.items()
        if is_node(given) and (value := attribute(graph_module, given)) is not None
    }
    value = node.meta["val"]
    return Call(
        operator=node.target,
        arguments=map_arg(named, lambda inner: inner.meta["val"]),
        results=tuple(value) if isinstance(value, (tuple, list)) else (value,),
        read=frozenset(
            user.args[1] if user.target is operator.getitem else 0
            for user in node.users
            if user.users or user.target is not operator.getitem
        ),
        constants=constants,
    )


def _traced(function: Function, values: Sequence[Tensor]) -> GraphModule:
    """Returns the graph of a function of tensors with the shapes and dtypes of `values`."""
    import torch
    from torch import nn

    class Body(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
        def forward(self, *tensors: Tensor) -> object:
            return function(*tensors)

    examples = tuple(torch.zeros(tuple(int(size) for size in value.shape), dtype=value.dtype) for value in values)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.export.export(Body(), examples, strict=False).module(check_guards=False)
    return cast("GraphModule", traced)


def _stored(graph_module: GraphModule, value: Tensor) -> str:
    """Keeps a constant of a rewrite as a buffer and returns its name."""
    number = 0
    while hasattr(graph_module, f"rewrite_constant_{number}"):
        number += 1
    name = f"rewrite_constant_{number}"
    graph_module.register_buffer(name, value)
    return name
