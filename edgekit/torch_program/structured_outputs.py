"""Flattens what a model returns: artifacts return tensors in a fixed order. Runs in a worker that has torch.

Dicts, dataclasses and nested tuples become one tensor after the other, named by the way to each: `logits`,
`states.0`. A None is left out: it carries no values.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError
from edgekit.task.nested_values import parts_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram


def flatten_outputs(value: object, title: str) -> list[tuple[str, Tensor]]:
    """Returns (name, tensor) of every tensor in a model's result; the name is "" where no key or field names it.

    Args:
        value: A tensor, or tuples, lists, dicts and dataclasses of tensors and None.
        title: For messages: what the user wrote.

    Raises:
        ModelError: it holds anything else, or no tensor at all.
    """
    found = list(_leaves(value, (), title))
    if not found:
        raise ModelError(
            f"{title}: the model returns a {type(value).__name__} without any tensor; expected a tensor, or tuples, "
            "lists, dicts and dataclasses of tensors. Return what the app must read."
        )
    named = any(not part.isdigit() for way, _ in found for part in way)
    return [(_name(way) if named else "", tensor) for way, tensor in found]


def _name(way: tuple[str, ...]) -> str:
    head = f"output_{way[0]}" if way[0].isdigit() else way[0]
    return ".".join((head, *way[1:]))


def is_structured(value: object) -> bool:
    """Returns whether a result is anything but a tensor or a plain tuple or list of tensors."""
    import torch

    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return not all(isinstance(item, torch.Tensor) for item in value)
    return not isinstance(value, torch.Tensor)


@contextmanager
def returning_flat(module: nn.Module, title: str) -> Generator[None, None, None]:
    """Makes a module's forward return its tensors in one flat container, while it is captured.

    A dict where keys or fields name them, so that the program keeps the names; else a tuple. torch.export knows only
    the containers that are registered with it; a dataclass of the user's own is not.
    """
    handle = module.register_forward_hook(lambda _module, _inputs, result: _flat(result, title))
    try:
        yield
    finally:
        handle.remove()


def _flat(result: object, title: str) -> object:
    if not is_structured(result):
        return result
    found = flatten_outputs(result, title)
    named = {name: tensor for name, tensor in found if name}
    return named if len(named) == len(found) else tuple(tensor for _, tensor in found)


def names_in(program: ExportedProgram, title: str) -> list[str] | None:
    """Returns what the keys and fields of an exported program's result call its outputs; None where none is named."""
    import torch
    from torch.utils import _pytree as pytree

    outputs = program.graph_signature.user_outputs
    leaves = [torch.empty(0) if isinstance(name, str) else None for name in outputs]
    form = program.call_spec.out_spec
    if form is None:
        return None
    result = pytree.tree_unflatten(leaves, form)
    names = [name for name, _ in flatten_outputs(result, title)]
    return names if any(names) else None


def _leaves(value: Any, way: tuple[str, ...], title: str) -> Generator[tuple[tuple[str, ...], Tensor], None, None]:
    import torch

    if isinstance(value, torch.Tensor):
        yield way, value
        return
    if value is None:
        return
    items = parts_of(value)
    if items is None:
        where = f" at {'.'.join(way)}" if way else ""
        raise ModelError(
            f"{title}: the model returns a {type(value).__name__}{where}; expected a tensor, or tuples, lists, dicts "
            "and dataclasses of tensors. Wrap it in a module whose forward returns tensors only."
        )
    for name, item in items:
        yield from _leaves(item, (*way, name), title)
