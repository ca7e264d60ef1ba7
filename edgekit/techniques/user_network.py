"""Networks that a technique's setting names: students, or a network as it was early. Runs in a worker with torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.errors import TechniqueError
from edgekit.techniques.base import Context, TorchModel
from edgekit.torch_program.graph_nodes import example_inputs_of, operator_name

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def capture_user_network(
    model: TorchModel, reference: str, context: Context, arguments: Mapping[str, float | int]
) -> TorchModel:
    """Returns the network that a user's factory builds, captured with the model's example inputs.

    Args:
        model: Whose inputs and outputs it must have.
        reference: `file.py:function`.
        context: Whose folder the reference starts from.
        arguments: What the factory is called with, by name.

    Raises:
        ConfigError: the reference is wrong.
        TechniqueError: it returns no network, or one with other outputs.
        ModelError: torch cannot capture it.
    """
    return capture_built_network(model, build_user_network(reference, context, arguments), reference)


def capture_built_network(model: TorchModel, module: nn.Module, reference: str) -> TorchModel:
    """Returns a network captured with the model's example inputs; see `capture_user_network`."""
    from edgekit.torch_program.canonical_program import canonical
    from edgekit.torch_program.trace_module import export_module

    examples = example_inputs_of(model.program)
    names = [node.name for node in model.program.graph.nodes if node.name in model.program.graph_signature.user_inputs]
    program = canonical(export_module(module.eval(), examples, reference, lengths=True), examples, reference, names)
    forms = [_forms(found) for found in (model.program, program)]
    if forms[0] != forms[1]:
        raise TechniqueError(
            f"{reference} returned a network with the outputs {forms[1]}; expected {forms[0]}, as {model.facts.source} "
            "has them."
        )
    return replace(model, program=program)


def build_user_network(reference: str, context: Context, arguments: Mapping[str, float | int]) -> nn.Module:
    """Returns the torch.nn.Module that a user's factory builds, in float32.

    Raises:
        ConfigError: the reference is wrong.
        TechniqueError: the factory failed or returned no module.
    """
    import torch

    from edgekit.task.user_code import call_user, load_object

    factory = load_object(reference, context.base, "setting")
    torch.manual_seed(context.seed)
    module = call_user(lambda: factory(**arguments), (), f"{reference} failed", TechniqueError)
    if not isinstance(module, torch.nn.Module):
        raise TechniqueError(f"{reference} returned a {type(module).__name__}; expected a torch.nn.Module.")
    return module.cpu().float()


def same_graph(one: ExportedProgram, other: ExportedProgram) -> bool:
    """Returns whether two programs have the same operators on the same shapes."""
    return _operators(one) == _operators(other)


def _operators(program: ExportedProgram) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        (node.op, operator_name(node), tuple(getattr(node.meta.get("val"), "shape", ())))
        for node in program.graph.nodes
    ]


def _forms(program: ExportedProgram) -> list[tuple[tuple[int, ...], str]]:
    output = next(node for node in program.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in output.args[0]]
    return [(tuple(int(size) for size in value.shape), str(value.dtype)) for value in values]
