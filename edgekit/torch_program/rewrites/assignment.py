"""Assignment to parts of a tensor as a choice between two values, or a scatter along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.torch_program.rewrites.call import Call, Function

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 1 << 20
"""Comparisons for one line of a tensor that are made in the place of a scatter."""


def index_put(call: Call) -> Function | None:
    """Writes `x[mask] = value` as `where`, and `x[:, places] = values` as a scatter along that axis."""
    import torch

    shape, indices = call.shape("self"), list(call["indices"])
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        return None
    axis, index = given[0]
    if index.dtype in (torch.bool, torch.uint8):
        single = call["values"].numel() == 1 and not call["accumulate"]
        return (lambda x, mask, value: _masked(x, mask, value, axis)) if single else None
    if index.ndim != 1:
        return None
    put = (*shape[:axis], int(index.shape[0]), *shape[axis + 1 :])

    def scattered(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        line = [1] * len(shape)
        line[axis] = places.shape[0]
        counted = torch.where(places < 0, places + shape[axis], places)
        wide = counted.reshape(line).expand(put)
        whole = values.expand(put)
        return x.scatter_add(axis, wide, whole) if call["accumulate"] else x.scatter(axis, wide, whole)

    return scattered


def copy(call: Call) -> Function | None:
    """Writes an assignment to all of a tensor as what is assigned, in its shape and dtype."""
    shape, dtype = call.result_shape, call.results[0].dtype
    return lambda _, source: source.to(dtype).expand(shape)


def fill(call: Call) -> Function | None:
    """Writes filling as a constant, or as a number of the graph in the tensor's shape."""
    import torch

    shape, dtype, value = call.result_shape, call.results[0].dtype, call["value"]
    if hasattr(value, "shape"):
        return lambda _, number: number.to(dtype).expand(shape)
    return lambda _: torch.full(shape, value, dtype=dtype)


def empty(call: Call) -> Function:
    """Writes memory that nobody has written yet as zeros: formats have no tensor without values."""
    import torch

    shape, dtype = call.result_shape, call.results[0].dtype
    return lambda *_: torch.zeros(shape, dtype=dtype)


def slice_scatter(call: Call) -> Function | None:
    """Writes `x[a:b] = y` as what lies before, y, and what lies behind; with steps as a choice out of both."""
    import torch

    shape = call.shape("self")
    axis, step = int(call["dim"]) % len(shape), int(call["step"])
    start, stop, _ = slice(call["start"], call["end"], step).indices(shape[axis])
    places = range(start, stop, step)
    chosen = torch.arange(shape[axis])
    chosen[start:stop:step] = torch.arange(shape[axis], shape[axis] + len(places))

    def joined(x: Tensor, source: Tensor) -> Tensor:
        source = source.to(x.dtype).expand((*shape[:axis], len(places), *shape[axis + 1 :]))
        if step == 1:
            parts = [x.narrow(axis, 0, start), source, x.narrow(axis, stop, shape[axis] - stop)]
            kept = [part for part in parts if part.shape[axis]]
            return torch.cat(kept, axis) if len(kept) > 1 else kept[0]
        return torch.index_select(torch.cat([x, source], axis), axis, chosen)

    return joined if places else None


def select_scatter(call: Call) -> Function | None:
    """Writes `x[i] = y` as what lies before, y, and what lies behind."""
    import torch

    shape = call.shape("self")
    axis = int(call["dim"]) % len(shape)
    place = int(call["index"]) % shape[axis]

    def joined(x: Tensor, source: Tensor) -> Tensor:
        source = source.to(x.dtype).expand((*shape[:axis], *shape[axis + 1 :])).unsqueeze(axis)
        parts = [x.narrow(axis, 0, place), source, x.narrow(axis, place + 1, shape[axis] - place - 1)]
        kept = [part for part in parts if part.shape[axis]]
        return torch.cat(kept, axis) if len(kept) > 1 else kept[0]

    return joined


def index_add(call: Call) -> Function | None:
    """Writes `index_add` as a scatter that adds."""
    shape, alpha = call.shape("source"), call["alpha"]
    axis = int(call["dim"]) % max(len(shape), 1)

    def added(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        line = [1] * len(shape)
        line[axis] = places.shape[0]
        values = values if alpha == 1 else values * alpha
        return x.scatter_add(axis, places.reshape(line).expand(shape), values)

    return added if shape else None


def scatter_add(call: Call) -> Function | None:
    """Writes additions at places as sums over a comparison with all places: y_j = x_j + sum_k (place_k = j) value_k."""
    import torch

    if not _is_small(call):
        return None
    axis, lines = int(call["dim"]) % len(call.shape("self")), call.shape("self")[int(call["dim"])]

    def added(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        chosen = _chosen(places, axis, lines)
        given = torch.where(chosen, values.movedim(axis, -1).unsqueeze(-2), torch.zeros((), dtype=values.dtype))
        return x + given.sum(-1).movedim(-1, axis).to(x.dtype)

    return added


def scatter_integers(call: Call) -> Function | None:
    """Writes integers that are put at places as what the last value for each place is; as the CPU does it."""
    import torch

    if not _is_small(call) or call["self"].dtype.is_floating_point:
        return None
    axis, lines = int(call["dim"]) % len(call.shape("self")), call.shape("self")[int(call["dim"])]

    def put(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        chosen = _chosen(places, axis, lines)
        last = torch.where(chosen, torch.arange(chosen.shape[-1]), torch.full((), -1, dtype=torch.int64)).amax(-1)
        found = torch.gather(values.movedim(axis, -1), -1, last.clamp(min=0)).movedim(-1, axis)
        return torch.where(last.movedim(-1, axis) >= 0, found, x)

    return put


def scatter_reduce(call: Call) -> Function | None:
    """Writes the largest, smallest, sum or mean of what goes to each place by a comparison with all places."""
    import torch

    kind, own = str(call["reduce"]), bool(call["include_self"])
    if not _is_small(call) or kind not in ("amax", "amin", "sum", "mean") or not call["self"].dtype.is_floating_point:
        return None
    axis, lines = int(call["dim"]) % len(call.shape("self")), call.shape("self")[int(call["dim"])]
    neutral = {"amax": -float("inf"), "amin": float("inf")}.get(kind, 0.0)

    def reduced(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        chosen = _chosen(places, axis, lines)
        given = torch.where(chosen, values.movedim(axis, -1).unsqueeze(-2), torch.full((), neutral))
        count = chosen.to(x.dtype).sum(-1).movedim(-1, axis)
        if kind in ("amax", "amin"):
            pick, found = (torch.maximum, given.amax(-1)) if kind == "amax" else (torch.minimum, given.amin(-1))
            best = found.movedim(-1, axis)
            return pick(x, best) if own else torch.where(count > 0, best, x)
        total = given.sum(-1).movedim(-1, axis)
        if kind == "mean":
            return (x + total) / (count + 1) if own else torch.where(count > 0, total / count.clamp(min=1), x)
        return x + total if own else torch.where(count > 0, total, x)

    return reduced


def _is_small(call: Call) -> bool:
    """Returns whether a scatter has a line of values for each line of the tensor, and few enough to compare all."""
    shape, given = call.shape("self"), call.shape("index")
    axis = int(call["dim"]) % max(len(shape), 1)
    others = [size for place, size in enumerate(shape) if place != axis]
    same = others == [size for place, size in enumerate(given) if place != axis] and call.shape("src") == given
    return bool(shape) and same and len(shape) * shape[axis] * given[axis] <= _LARGEST


def _chosen(places: Tensor, axis: int, lines: int) -> Tensor:
    """Returns which value goes to which line, (..., lines, values)."""
    import torch

    return places.movedim(axis, -1).unsqueeze(-2) == torch.arange(lines).unsqueeze(-1)


def _masked(x: Tensor, mask: Tensor, value: Tensor, axis: int) -> Tensor:
    import torch

    wide = mask.to(torch.bool).reshape(*(1,) * axis, *mask.shape, *(1,) * (x.ndim - axis - mask.ndim))
    return torch.where(wide, value.reshape(()).to(x.dtype), x)
