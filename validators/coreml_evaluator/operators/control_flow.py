"""Branches, loops, lists and states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.operators.call import Call, ElementList, Kernel, Value
from edgekit.validators.coreml_evaluator.operators.tensor_types import torch_dtype


def _cond(call: Call) -> list[Value]:
    then, otherwise = call.operation.blocks
    return call.machine.run_block(then if bool(call.tensor("pred").item()) else otherwise, ())


def _while_loop(call: Call) -> list[Value]:
    condition, body = call.operation.blocks
    values = list(call.values("loop_vars"))
    while True:
        verdict = call.machine.run_block(condition, values)[0]
        if not isinstance(verdict, Tensor) or not bool(verdict.item()):
            return values
        values = call.machine.run_block(body, values)


def _make_list(call: Call) -> ElementList:
    """A new list; its shape may be known only once an element is written (symbols are strings)."""
    sizes = [value for value in call.arguments.get("elem_shape", ()) if isinstance(value, Tensor)]
    known = len(sizes) == len(call.arguments.get("elem_shape", ()))
    flat = [int(size) for value in sizes for size in value.reshape(-1).tolist()]
    return ElementList(
        elements=(None,) * call.integer("init_length", 1),
        dynamic=call.flag("dynamic_length", default=True),
        element_shape=tuple(flat) if known else None,
        dtype=torch_dtype(call.text("dtype", "fp32")),
    )


def _list_length(call: Call) -> Tensor:
    return torch.tensor(len(call.element_list("ls").elements), dtype=torch.int32)


def _written(call: Call, items: ElementList, changes: Sequence[tuple[int, Tensor]]) -> ElementList:
    elements = list(items.elements)
    for index, value in changes:
        if index >= len(elements) and items.dynamic:
            elements.extend([None] * (index + 1 - len(elements)))
        _check(call, index, len(elements))
        elements[index] = value
    return ElementList(
        elements=tuple(elements), dynamic=items.dynamic, element_shape=items.element_shape, dtype=items.dtype
    )


def _check(call: Call, index: int, length: int) -> None:
    if not 0 <= index < length:
        raise ArtifactError(
            f'Operator {call.operation.type} "{call.operation.name}" got index {index} for a list of {length} '
            "elements: the result on a device is undefined. Check the model's loop bounds."
        )


def _element(call: Call, items: ElementList, index: int) -> Tensor:
    """Returns one element; zeros where nothing was written."""
    _check(call, index, len(items.elements))
    element = items.elements[index]
    if element is not None:
        return element
    shape = next((tuple(other.shape) for other in items.elements if other is not None), items.element_shape)
    return torch.zeros(shape or (), dtype=items.dtype)


def _list_write(call: Call) -> ElementList:
    return _written(call, call.element_list("ls"), [(call.integer("index", 0), call.tensor("value"))])


def _list_read(call: Call) -> Tensor:
    return _element(call, call.element_list("ls"), call.integer("index", 0))


def _list_gather(call: Call) -> Tensor:
    items = call.element_list("ls")
    return torch.stack([_element(call, items, index) for index in call.integers("indices")])


def _list_scatter(call: Call) -> ElementList:
    changes = list(zip(call.integers("indices"), call.tensor("value"), strict=True))
    return _written(call, call.element_list("ls"), changes)


def _read_state(call: Call) -> Tensor:
    return call.state("input").value


def _write_state(call: Call) -> list[Value]:
    call.state("input").value = call.tensor("data")
    return []


def _update_state(call: Call) -> Tensor:
    """Core ML Tools writes this as `write_state` and `read_state`; kept for programs that hold it whole."""
    call.state("state").value = call.tensor("value")
    return call.tensor("value")


OPERATORS: dict[str, Kernel] = {
    "cond": _cond,
    "coreml_update_state": _update_state,
    "list_gather": _list_gather,
    "list_length": _list_length,
    "list_read": _list_read,
    "list_scatter": _list_scatter,
    "list_write": _list_write,
    "make_list": _make_list,
    "read_state": _read_state,
    "while_loop": _while_loop,
    "write_state": _write_state,
}
"""By operator type."""
