"""Folds states that are inputs and outputs back into buffers, for formats that keep states themselves.

The opposite of `lift_states`, done last: everything before it, quantization too, sees plain inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.model import CapturedModel, State, TensorSpec
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.torch_protocols import Graph, Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram, ModuleCallEntry
    from torch.export.graph_signature import InputSpec, OutputSpec


def held_states(model: CapturedModel) -> tuple[State, ...]:
    """Returns the states that a format can keep itself: all, where all are buffers in the user's model, else none.

    States that the user's model has as inputs and outputs stay those: its app hands them over already.
    """
    return model.states if all(state.buffer for state in model.states) else ()


def without_held(specs: Sequence[TensorSpec], states: Sequence[State]) -> tuple[TensorSpec, ...]:
    """Returns the inputs or outputs of an artifact that keeps `states` itself."""
    names = {name for state in states for name in (state.input, state.output)}
    return tuple(spec for spec in specs if spec.name not in names)


def held_note(states: Sequence[State], restart: str) -> str:
    """Returns what the user should know about states in the artifact; `restart` is how they begin anew."""
    names = ", ".join(state.buffer for state in states)
    return f"The artifact keeps {names} from call to call itself; to begin anew, {restart}."


def hold_states(program: ExportedProgram, model: CapturedModel) -> ExportedProgram:
    """Returns the program with the model's states as buffers that it changes.

    Args:
        program: A functional program whose inputs and outputs are those of `model`, in order.
        model: What the states are, and how they begin.
    """
    import torch
    from torch.export import graph_signature as parts

    takes, gives = [spec.name for spec in model.inputs], [spec.name for spec in model.outputs]
    graph = program.graph_module.graph
    signature = program.graph_signature
    inputs = [item for item in signature.input_specs if item.kind == parts.InputKind.USER_INPUT]
    weights = [item for item in signature.input_specs if item.kind != parts.InputKind.USER_INPUT]
    results = [item for item in signature.output_specs if item.kind == parts.OutputKind.USER_OUTPUT]
    state_dict: dict[str, Tensor] = dict(program.state_dict)
    buffers: list[InputSpec] = []
    changes: list[OutputSpec] = []
    nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
    for state in model.states:
        given, made = inputs[takes.index(state.input)].arg, results[gives.index(state.output)].arg
        buffers.append(parts.InputSpec(parts.InputKind.BUFFER, given, state.input, persistent=True))
        changes.append(parts.OutputSpec(parts.OutputKind.BUFFER_MUTATION, made, state.input))
        state_dict[state.input] = _initial(state, nodes[given.name].meta["val"])
    held = {name for state in model.states for name in (state.input, state.output)}
    inputs = [item for name, item in zip(takes, inputs, strict=True) if name not in held]
    results = [item for name, item in zip(gives, results, strict=True) if name not in held]
    _reorder_inputs(graph, [*weights, *buffers, *inputs], nodes)
    output: Node = next(node for node in graph.nodes if node.op == "output")
    output.args = (tuple(nodes[item.arg.name] for item in (*changes, *results)),)
    taken = zip(takes, example_inputs_of(program), strict=True)
    examples = tuple(example for name, example in taken if name not in held)
    return torch.export.ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=parts.ExportGraphSignature([*weights, *buffers, *inputs], [*changes, *results]),
        state_dict=state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=[_call(examples, inputs, results)],
        example_inputs=(examples, {}),
        constants=program.constants,
        verifiers=program.verifiers,
    )


def _initial(state: State, value: Tensor) -> Tensor:
    import torch

    if len(state.initial) == 1:
        return torch.full(value.shape, state.initial[0], dtype=value.dtype)
    return torch.tensor(state.initial, dtype=value.dtype).reshape(value.shape)


def _call(examples: tuple[Tensor, ...], inputs: Sequence[InputSpec], results: Sequence[OutputSpec]) -> ModuleCallEntry:
    """Returns how the program is called: inputs by place, results as a tuple, or one alone."""
    from torch.export import ModuleCallEntry, ModuleCallSignature
    from torch.utils import _pytree as pytree

    flat = tuple(range(len(results)))
    return ModuleCallEntry(
        fqn="",
        signature=ModuleCallSignature(
            inputs=[],
            outputs=[],
            in_spec=pytree.tree_structure((examples, {})),
            out_spec=pytree.tree_structure(flat if len(flat) > 1 else 0),
            forward_arg_names=[item.arg.name for item in inputs],
        ),
    )


def _reorder_inputs(graph: Graph, order: Sequence[InputSpec], nodes: dict[str, Node]) -> None:
    """Puts the placeholders into the order of the signature."""
    first = next(iter(graph.nodes))
    for item in order:
        node = nodes[item.arg.name]
        if node is first:
            first = node.next
        else:
            first.prepend(node)
