"""What a torch module is captured with: its arguments, which may hold tensors in dicts, dataclasses and nested tuples.

torch.export knows plain containers only, so a module is captured with those, and gets its own back before its forward.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from edgekit.task.nested_values import leaves_of, mapped, plain

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCall:
    """The arguments of one call of a module.

    Attributes:
        args: By position.
        kwargs: By name, in the order of the forward's parameters.
        names: Of the tensors inside, in order: `x`, `past.0.key`.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors inside, in order."""
        return tuple(leaf for _, leaf in leaves_of((self.args, dict(self.kwargs))))

    def with_tensors(self, tensors: Sequence[Tensor]) -> ExampleCall:
        """Returns the call with other tensors in the same places."""
        left = iter(tensors)
        args, kwargs = mapped((self.args, dict(self.kwargs)), lambda _: next(left))
        return ExampleCall(args=args, kwargs=kwargs, names=self.names)

    def in_plain_containers(self) -> ExampleCall:
        """Returns the call with dicts, tuples and lists as its only containers."""
        return ExampleCall(args=plain(self.args), kwargs=plain(dict(self.kwargs)), names=self.names)


def bound_call(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ExampleCall:
    """Returns a call with its tensors named by the forward's parameters; arguments by name come last.

    Arguments that the forward does not take keep their places: calling it will say so.
    """
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError:
        given: list[tuple[str, Any]] = [*((str(i), value) for i, value in enumerate(args)), *kwargs.items()]
        return ExampleCall(args=tuple(args), kwargs=dict(kwargs), names=_names(given))
    kinds = bound.signature.parameters
    named: list[tuple[str, Any]] = []
    for name, value in bound.arguments.items():
        named += list(value.items()) if kinds[name].kind is inspect.Parameter.VAR_KEYWORD else [(name, value)]
    return ExampleCall(args=bound.args, kwargs=bound.kwargs, names=_names(named))


def _names(values: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(".".join((name, *way)) for name, value in values for way, _ in leaves_of(value))


def parameter_names(module: nn.Module) -> list[str]:
    """Returns what a module's forward calls its arguments, in order."""
    named = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind not in named]


@contextmanager
def taking_own_arguments(module: nn.Module, call: ExampleCall) -> Generator[None, None, None]:
    """Gives a module the containers of `call` around the tensors that it is called with, and half floats as floats.

    The weights are float32 by then; an artifact still takes what the model took.
    """
    import torch

    def own(_module: object, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tensors = [leaf for _, leaf in leaves_of((args, kwargs))]
        given = call.with_tensors([leaf.float() if leaf.dtype == torch.float16 else leaf for leaf in tensors])
        return given.args, dict(given.kwargs)

    handle = module.register_forward_pre_hook(own, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def readable_input_names(program: ExportedProgram) -> list[str] | None:
    """Returns the names of a program's tensor inputs by the way to each, `past.0.key`; None where none is nested."""
    from torch.utils import _pytree as pytree

    signature = program.module_call_graph[0].signature if program.module_call_graph else None
    arguments = getattr(signature, "forward_arg_names", None)
    if signature is None or arguments is None:
        return None
    args, kwargs = pytree.tree_unflatten(range(signature.in_spec.num_leaves), signature.in_spec)
    values = [*args, *kwargs.values()]
    inputs = program.graph_signature.user_inputs
    if len(values) != len(arguments):
        return None
    ways = {
        place: (name, *way) for name, value in zip(arguments, values, strict=True) for way, place in leaves_of(value)
    }
    tensors = {node.name for node in program.graph.nodes if hasattr(node.meta.get("val"), "dtype")}
    if set(ways) != set(range(len(inputs))) or all(len(way) == 1 for way in ways.values()):
        return None
    return [".".join(ways[place]) for place, name in enumerate(inputs) if name in tensors]
