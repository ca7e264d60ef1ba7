"""Gather and scatter."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel

FIRST_OPSET_WITHOUT_NEGATIVE_INDICES = 7
"""Up to iOS 16 an index may count from the end; from iOS 17 on a negative index is out of range."""


def _divided(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "div": _divided,
    "max": torch.maximum,
    "min": torch.minimum,
    "mul": torch.mul,
    "sub": torch.sub,
    "update": lambda _, update: update,
}
"""What the modes of scatter do with an old and a new element."""


def _checked(call: Call, indices: Tensor, size: int | Tensor) -> Tensor:
    """Returns indices as int64, counted from the start.

    Raises:
        ArtifactError: An index is out of range. On a device the result is then undefined, so there is nothing to
            compare with.
    """
    indices = indices.long()
    limit = torch.as_tensor(size)
    lowest = torch.zeros(()) if call.machine.opset >= FIRST_OPSET_WITHOUT_NEGATIVE_INDICES else -limit
    wrong = (indices < lowest) | (indices >= limit)
    if bool(wrong.any()):
        example = int(indices[wrong][0])
        raise ArtifactError(
            f'Operator {call.operation.type} "{call.operation.name}" got index {example}, which is out of range '
            f"(sizes {limit.tolist()}, opset CoreML{call.machine.opset}): the result on a device is undefined. "
            "Check the model's inputs, and how it computes this index."
        )
    return torch.where(indices < 0, indices + limit, indices)


def _gather(call: Call) -> Tensor:
    x, indices = call.tensor("x"), call.tensor("indices")
    axis, batch = call.integer("axis", 0) % max(x.dim(), 1), call.integer("batch_dims", 0)
    indices = _checked(call, indices, x.shape[axis])
    if batch == 0:
        picked = x.index_select(axis, indices.reshape(-1))
        return picked.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])
    groups = prod(x.shape[:batch])
    flat = x.reshape(groups, *x.shape[batch:])
    rows = indices.reshape(groups, -1)
    picked = torch.stack([flat[group].index_select(axis - batch, rows[group]) for group in range(groups)])
    return picked.reshape(x.shape[:axis] + indices.shape[batch:] + x.shape[axis + 1 :])


def _gather_along_axis(call: Call) -> Tensor:
    x, axis = call.tensor("x"), call.integer("axis", 0)
    return torch.gather(x, axis, _checked(call, call.tensor("indices"), x.shape[axis]))


def _gather_nd(call: Call) -> Tensor:
    x, indices, batch = call.tensor("x"), call.tensor("indices"), call.integer("batch_dims", 0)
    depth = indices.shape[-1]
    indices = _checked(call, indices, torch.tensor(x.shape[batch : batch + depth]))
    groups = [
        torch.arange(x.shape[axis]).reshape([-1 if other == axis else 1 for other in range(indices.dim() - 1)])
        for axis in range(batch)
    ]
    return x[(*groups, *indices.unbind(-1))]


def _scatter(call: Call) -> Tensor:
    """Along one axis, whole slices at a time."""
    data, axis = call.tensor("data"), call.integer("axis", 0)
    axis %= data.dim()
    indices = _checked(call, call.tensor("indices"), data.shape[axis]).reshape(-1)
    moved = data.movedim(axis, 0)
    updates = call.tensor("updates").movedim(axis, 0)
    rows = _update_rows(call, moved.reshape(data.shape[axis], -1), indices, updates.reshape(indices.numel(), -1))
    return rows.reshape(moved.shape).movedim(0, axis)


def _scatter_along_axis(call: Call) -> Tensor:
    data, axis = call.tensor("data"), call.integer("axis", 0)
    axis %= data.dim()
    indices = _checked(call, call.tensor("indices"), data.shape[axis])
    flat = torch.zeros_like(indices)
    for other in range(data.dim()):
        shape = [-1 if place == other else 1 for place in range(data.dim())]
        position = indices if other == axis else torch.arange(indices.shape[other]).reshape(shape)
        flat = flat * data.shape[other] + position
    updates = call.tensor("updates").reshape(-1, 1)
    return _update_rows(call, data.reshape(-1, 1), flat.reshape(-1), updates).reshape(data.shape)


def _scatter_nd(call: Call) -> Tensor:
    data, indices = call.tensor("data"), call.tensor("indices")
    depth = indices.shape[-1]
    indices = _checked(call, indices, torch.tensor(data.shape[:depth])).reshape(-1, depth)
    flat = torch.zeros(indices.shape[0], dtype=torch.int64)
    for axis in range(depth):
        flat = flat * data.shape[axis] + indices[:, axis]
    updates = call.tensor("updates").reshape(flat.numel(), -1)
    return _update_rows(call, data.reshape(prod(data.shape[:depth]), -1), flat, updates).reshape(data.shape)


def _update_rows(call: Call, data: Tensor, rows: Tensor, updates: Tensor) -> Tensor:
    """Returns `data` with each row of `updates` merged into the row that `rows` names.

    A row named twice is merged twice, in order; with mode `update` the last one stays.
    """
    merge, updates = MERGES[call.text("mode", "add")], updates.to(data.dtype)
    result = data.clone()
    if rows.numel() == 0:
        return result
    ordered, order = torch.sort(rows, stable=True)
    counts = torch.bincount(rows)
    turn = torch.arange(rows.numel()) - (counts.cumsum(0) - counts)[ordered]
    for number in range(int(counts.max())):  # one turn where no row is named twice
        chosen = order[turn == number]
        result[rows[chosen]] = merge(result[rows[chosen]], updates[chosen])
    return result


OPERATORS: dict[str, Kernel] = {
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
}
"""By operator type."""
