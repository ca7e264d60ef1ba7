"""Turns buffers that a program changes into inputs and outputs: a state that one call gives and the next one takes.

A key-value cache, the ring buffer of a streaming filter or a running mean is kept in a buffer in torch. No format keeps
buffers as torch does, so the buffer `layer.keys` becomes the input `state_layer_keys` and the output
`state_layer_keys_next`. Formats that have states of their own fold them back (see `hold_states`). Runs in a worker.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import ModelError
from edgekit.model import State
from edgekit.torch_program.canonical_program import check_equal
from edgekit.torch_program.example_call import ExampleCall
from edgekit.torch_program.graph_nodes import is_in_place, viewed
from edgekit.torch_program.state_writes import write_plainly
from edgekit.torch_program.torch_protocols import Graph, Node
from edgekit.torch_program.trace_module import export_module, run_module

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from edgekit.torch_program.trace_module import Examples

MOST_INITIAL_VALUES: Final = 65536
"""Elements of a state that may begin with values of their own; they are written into each artifact as text."""

CHECKED_CALLS: Final = 3
"""Calls in turn on which the module and the lifted program are compared."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LiftedProgram:
    """A program whose states are inputs and outputs.

    Attributes:
        module: Takes the user's inputs, then the states; returns the user's outputs, then the states' next values.
        states: In the order of those inputs and outputs.
        initial: The states before the first call.
    """

    module: GraphModule
    states: tuple[State, ...]
    initial: tuple[Tensor, ...]


@contextmanager
def keeping_buffers(module: nn.Module) -> Generator[None, None, None]:
    """Gives a module's buffers the values back that they had before the block: a call may change them."""
    import torch

    kept = [(name, buffer, buffer.detach().clone()) for name, buffer in module.named_buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer, value in kept:
                owner, _, leaf = name.rpartition(".")
                # In place: the program that a module was made of has the same tensors.
                setattr(module.get_submodule(owner), leaf, buffer.copy_(value))


def changes_buffers(program: ExportedProgram) -> bool:
    """Returns whether a call of the program leaves other values in its buffers."""
    buffers = program.graph_signature.inputs_to_buffers
    changed = (viewed(node.args[0])[-1] for node in program.graph.nodes if is_in_place(node) and node.args)
    return bool(program.graph_signature.buffers_to_mutate) or any(owner.name in buffers for owner in changed)


def lift_states(program: ExportedProgram, title: str) -> LiftedProgram:
    """Returns the program with its changed buffers as inputs and outputs.

    Args:
        program: From torch.export, in its training form: buffers are changed by in-place operators.
        title: For messages: what the user wrote.

    Raises:
        ModelError: a state begins with more single values than an artifact can be given.
    """
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # torch's own copy of a program warns of torch
        functional = program.run_decompositions({})
    graph, signature = functional.graph, functional.graph_signature
    next_values = {target: name for name, target in signature.buffers_to_mutate.items()}
    weights = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    tensors: dict[str, Tensor] = {**functional.state_dict, **functional.constants}
    nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
    inputs: dict[str, Node] = {}
    attributes: dict[str, object] = {}
    placeholders: list[Node] = [node for node in graph.nodes if node.op == "placeholder"]
    for node in placeholders:
        target = weights.get(node.name)
        if target is None:
            continue  # an input of the user's
        if target not in next_values:
            attributes[target] = tensors[target]
            _read_from(graph, node, target)
        elif node.users:
            inputs[target] = node
        else:
            graph.erase_node(node)  # written at each call and never read before: nothing goes on to the next call
    names = _names(list(inputs), {node.name for node in placeholders})
    last: Node = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for target, node in inputs.items():
        if node is not last:
            last.append(node)
        node._rename(names[target])  # noqa: SLF001  the only way that keeps names unique
        node.target, last = node.name, node
    output: Node = next(node for node in graph.nodes if node.op == "output")
    given = [nodes[name] for name in signature.user_outputs if name in nodes]
    changed = [_with_axis(graph, nodes[next_values[target]]) for target in inputs]
    output.args = (tuple(_distinct(graph, [*given, *changed])),)
    for node in inputs.values():
        _without_axis(graph, node)
    module = torch.fx.GraphModule(attributes, graph)
    module.graph.lint()
    write_plainly(module)
    return LiftedProgram(
        module=module,
        states=tuple(_state(node.name, target, tensors[target], title) for target, node in inputs.items()),
        initial=tuple(torch.atleast_1d(tensors[target].detach().clone()) for target in inputs),
    )


def _read_from(graph: Graph, placeholder: Node, target: str) -> None:
    """Replaces the placeholder of a weight by a node that reads it from the module."""
    first = next(node for node in graph.nodes if node.op != "placeholder")
    with graph.inserting_before(first):
        weight = graph.create_node("get_attr", target)
    weight.meta = dict(placeholder.meta)
    placeholder.replace_all_uses_with(weight)
    graph.erase_node(placeholder)


def _with_axis(graph: Graph, result: Node) -> Node:
    """Returns a state's next value with an axis of 1 where it is a single number: Core ML has none without axes."""
    import torch

    if result.meta["val"].ndim:
        return result
    with graph.inserting_before(next(node for node in graph.nodes if node.op == "output")):
        made = graph.call_function(torch.ops.aten.reshape.default, (result, [1]))
    made.meta = {**result.meta, "val": result.meta["val"].reshape(1)}
    return made


def _without_axis(graph: Graph, placeholder: Node) -> None:
    """Lets what reads a state of a single number read it without the axis that its input has."""
    import torch

    value = placeholder.meta["val"]
    if value.ndim:
        return
    with graph.inserting_before(next(node for node in graph.nodes if node.op not in ("placeholder", "get_attr"))):
        made = graph.call_function(torch.ops.aten.reshape.default, (placeholder, []))
    made.meta = dict(placeholder.meta)
    placeholder.meta = {**placeholder.meta, "val": value.reshape(1)}
    placeholder.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _names(buffers: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Returns what to call the inputs of changed buffers: `state_layer_keys` for `layer.keys`."""
    names: dict[str, str] = {}
    for buffer in buffers:
        word = base = "state_" + re.sub(r"\W", "_", buffer)
        number = 1
        while word in taken or word in names.values():
            number += 1
            word = f"{base}_{number}"
        names[buffer] = word
    return names


def _distinct(graph: Graph, results: Sequence[Node]) -> list[Node]:
    """Returns the outputs with copies of those that are there twice, or that are inputs: each has a name of its own."""
    import torch

    seen: set[Node] = set()
    distinct: list[Node] = []
    for result in results:
        node = result
        if node in seen or node.op in ("placeholder", "get_attr"):
            with graph.inserting_before(next(item for item in graph.nodes if item.op == "output")):
                node = graph.call_function(torch.ops.aten.clone.default, (result,))
            node.meta = dict(result.meta)
        seen.add(node)
        distinct.append(node)
    return distinct


def _state(name: str, buffer: str, value: Tensor, title: str) -> State:
    flat = value.detach().flatten()
    uniform = not flat.numel() or bool((flat == flat[0]).all())
    if not uniform and flat.numel() > MOST_INITIAL_VALUES:
        raise ModelError(
            f'{title}: the buffer "{buffer}" changes from call to call, and its {flat.numel()} elements begin with '
            f"different values; at most {MOST_INITIAL_VALUES} can be handed to an app. Let it begin with one value, "
            "such as zeros, and add what differs as a constant."
        )
    initial = (float(flat[0]) if flat.numel() else 0.0,) if uniform else tuple(float(item) for item in flat)
    return State(input=name, output=f"{name}_next", initial=initial, buffer=buffer)


def without_states(
    program: ExportedProgram, examples: Examples, module: nn.Module, title: str
) -> tuple[ExportedProgram, tuple[Tensor, ...], tuple[State, ...]]:
    """Returns a program that changes nothing, its example inputs, and the states that are inputs and outputs of it.

    A program that changes no buffer comes back as it is, without states.

    Args:
        program: From torch.export.
        examples: What it is called with.
        module: What the program was made from: the two are compared.
        title: For messages: what the user wrote.
    """
    tensors = examples.tensors if isinstance(examples, ExampleCall) else tuple(examples)
    if not changes_buffers(program):
        return program, tensors, ()
    lifted = lift_states(program, title)
    check_lifted(module, lifted, examples, title)
    inputs = (*tensors, *lifted.initial)
    return export_module(lifted.module, inputs, title), inputs, lifted.states


def named_outputs(names: Sequence[str] | None, states: Sequence[State], count: int) -> list[str] | None:
    """Returns the names of all outputs, those of the states last; None where nothing names them.

    Args:
        names: Of the user's outputs, None where they have none.
        states: What follows them.
        count: How many outputs the user's model has.
    """
    if not states:
        return None if names is None else list(names)
    words = names or (["output"] if count == 1 else [f"output_{i}" for i in range(count)])
    return [*words, *(state.output for state in states)]


def all_names(names: Sequence[str] | None, states: Sequence[State]) -> list[str] | None:
    """Returns the names of all inputs, those of the states last; None where the program's own names hold."""
    return None if names is None else [*names, *(state.input for state in states)]


def check_lifted(module: nn.Module, lifted: LiftedProgram, examples: Examples, title: str) -> None:
    """Checks that the lifted program gives what the module gives, over several calls that follow each other.

    Raises:
        ModelError: it gives something else.
    """
    tensors = examples.tensors if isinstance(examples, ExampleCall) else examples
    states = [value.clone() for value in lifted.initial]
    with keeping_buffers(module):
        for _ in range(CHECKED_CALLS):
            expected = run_module(module, examples, title)
            got = run_module(lifted.module, [*tensors, *states], title)
            states = list(got[len(expected) :])
            check_equal(expected, got[: len(expected)], title)
