"""Operators that pick, place or pad values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def _slice(node: Node) -> Function:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.integers(4, "steps") if node.has(4) else [1] * len(starts)
    picks: list[slice] = [slice(None)] * node.rank()
    flipped: list[int] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = node.shape()[axis]
        if step > 0:
            picks[axis % node.rank()] = slice(*slice(start, end, step).indices(size))
            continue
        # torch has no negative steps: take the same values forwards, then flip.
        chosen = range(*_backward(start, end, step, size))
        picks[axis % node.rank()] = slice(chosen[-1], chosen[0] + 1, -step) if chosen else slice(0, 0)
        flipped.append(axis % node.rank())

    def run(x: Tensor, *_: object) -> Tensor:
        for axis, pick in enumerate(picks):
            if pick != slice(None) and pick != slice(0, node.shape()[axis], 1):
                x = x[(slice(None),) * axis + (pick,)]
        return x.flip(flipped) if flipped else x

    return run


def _reverse_sequence(node: Node) -> Function:
    """The first values of each row along an axis in the opposite order: as many as a constant says, row by row."""
    import torch

    rows, steps = node.number("batch_axis", 1), node.number("time_axis", 0)
    lengths = node.integers(1, "lengths")
    size = node.shape()[steps]
    if all(length == size for length in lengths):
        return lambda x, _=None: x.flip(steps)
    places = [[*range(length - 1, -1, -1), *range(length, size)] for length in lengths]
    shape = [1] * node.rank()
    shape[rows], shape[steps] = len(lengths), size
    index = torch.tensor(places)
    index = (index if rows < steps else index.T).reshape(shape)
    return lambda x, _=None: x.gather(steps, index.expand(x.shape))


def _backward(start: int, end: int, step: int, size: int) -> tuple[int, int, int]:
    """Returns bounds of a range with a negative step, clamped as ONNX says."""
    start = min(max(start + size if start < 0 else start, 0), size - 1)
    end = min(max(end + size if end < 0 else end, -1), size - 1)
    return start, end, step


def _gather(node: Node) -> Function:
    import torch

    axis = node.number("axis", 0) % node.rank()
    size = node.shape()[axis]
    if not node.is_constant[1]:
        if axis == 0 and node.is_constant[0] and node.rank() == 2:
            # A table of embeddings, for which runtimes have kernels and quantizers.
            return lambda table, indices: torch.nn.functional.embedding(indices, table)
        shape = (*node.shape()[:axis], *node.shape(1), *node.shape()[axis + 1 :])
        return lambda x, indices: x.index_select(axis, _wrapped(indices.reshape(-1), size)).reshape(shape)
    indices = node.constant(1, "indices") % size
    if indices.ndim == 0:
        one = int(indices)
        return lambda x, _=None: x.select(axis, one)
    flat = indices.reshape(-1).to(torch.int64)
    shape = (*node.shape()[:axis], *indices.shape, *node.shape()[axis + 1 :])
    first, count = int(flat[0]) if flat.numel() else 0, flat.numel()
    if count and torch.equal(flat, torch.arange(first, first + count)):
        return lambda x, _=None: x.narrow(axis, first, count).reshape(shape)
    return lambda x, _=None: x.index_select(axis, flat).reshape(shape)


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Returns indices with negative ones counted from the end."""
    import torch

    return torch.where(indices < 0, indices + size, indices)


def _gather_elements(node: Node) -> Function:
    import torch

    axis = node.number("axis", 0)
    size = node.shape()[axis]
    return lambda x, indices: torch.gather(x, axis, _wrapped(indices, size))


def _gather_nd(node: Node) -> Function:
    if node.number("batch_dims", 0):
        raise UnsupportedError("it has batch_dims")
    depth = node.shape(1)[-1]
    sizes = node.shape()[:depth]
    return lambda x, indices: x[tuple(_wrapped(indices[..., i], sizes[i]) for i in range(depth))]


def _scatter_elements(node: Node) -> Function:
    import torch

    axis, size = node.number("axis", 0), node.shape()[node.number("axis", 0)]
    reduction = node.number("reduction", "none")
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    if reduction == "none":
        return lambda x, indices, updates: torch.scatter(x, axis, _wrapped(indices, size), updates)
    return lambda x, indices, updates: torch.scatter_reduce(
        x, axis, _wrapped(indices, size), updates, names[reduction], include_self=True
    )


def _scatter_nd(node: Node) -> Function:
    import torch

    reduction = node.number("reduction", "none")
    if reduction not in ("none", "add"):
        raise UnsupportedError(f'its reduction is "{reduction}"; none and add are supported')
    depth = node.shape(1)[-1]
    sizes = node.shape()[:depth]

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = tuple(_wrapped(indices[..., i], sizes[i]) for i in range(depth))
        return torch.index_put(x, places, updates, accumulate=reduction == "add")

    return run


def _one_hot(node: Node) -> Function:
    import torch

    depth = node.integers(1, "depth")[0]
    off, on = (float(value) for value in node.constant(2, "values").tolist())
    dtype = node.inputs[2].dtype
    axis = node.number("axis", -1)

    def run(indices: Tensor, *_: object) -> Tensor:
        wanted = indices.unsqueeze(axis)
        shape = [1] * (indices.ndim + 1)
        shape[axis] = depth
        classes = torch.arange(depth).reshape(shape)
        hot = classes == torch.where(wanted < 0, wanted + depth, wanted)
        return torch.where(hot, on, off).to(dtype)

    return run


def _pad(node: Node) -> Function:
    import torch

    pads = node.integers(1, "pads")
    axes = node.integers(3, "axes") if node.has(3) else list(range(node.rank()))
    value = node.constant(2, "value").item() if node.has(2) else 0
    mode = node.number("mode", "constant")
    half = len(axes)
    amounts = {axis % node.rank(): (pads[i], pads[half + i]) for i, axis in enumerate(axes)}
    flat = [amount for axis in reversed(range(node.rank())) for amount in amounts.get(axis, (0, 0))]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        del flat[-2:]
    if mode == "constant":
        return lambda x, *_: torch.nn.functional.pad(x, flat, value=value)
    return _mirrored(node, amounts, mode, flat)


def _mirrored(node: Node, amounts: dict[int, tuple[int, int]], mode: str, flat: list[int]) -> Function:
    """Returns a pad in the modes reflect, edge and wrap."""
    import torch

    name = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    # torch pads the last axes of (N, C, ...) only, and needs all of them.
    if len(flat) <= 2 * (node.rank() - 2) and 3 <= node.rank() <= 5 and min(flat) >= 0:
        full = [*flat, *[0] * (2 * (node.rank() - 2) - len(flat))]
        return lambda x, *_: torch.nn.functional.pad(x, full, mode=name)
    picks: dict[int, Tensor] = {}
    for axis, (begin, end) in amounts.items():
        size = node.shape()[axis]
        places = torch.arange(-begin, size + end)
        if mode == "edge":
            picks[axis] = places.clamp(0, size - 1)
        elif mode == "wrap":
            picks[axis] = places % size
        else:
            period = max(1, 2 * (size - 1))
            folded = places % period
            picks[axis] = torch.where(folded >= size, period - folded, folded)

    def run(x: Tensor, *_: object) -> Tensor:
        for axis, places in picks.items():
            x = x.index_select(axis, places)
        return x

    return run


OPERATORS: Final[Mapping[str, Builder]] = {
    "Slice": _slice,
    "Gather": _gather,
    "ReverseSequence": _reverse_sequence,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "OneHot": _one_hot,
    "Pad": _pad,
}
"""Operator type to builder."""
