"""Operators that change shape or order, and constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.arithmetic import torch_dtype
from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def _reshape(node: Node) -> Function:
    wanted = node.integers(1, "shape")
    if not node.number("allowzero", 0):
        wanted = [node.shape()[i] if size == 0 else size for i, size in enumerate(wanted)]
    if -1 in wanted:
        # Worked out here: a graph with one -1 less is one that every converter knows.
        rest = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = math.prod(node.shape()) // rest if rest else 0
    return lambda x, _=None: x.reshape(wanted)


def _flatten(node: Node) -> Function:
    axis = node.number("axis", 1)
    axis = axis + node.rank() if axis < 0 else axis
    rows = math.prod(node.shape()[:axis])
    columns = math.prod(node.shape()[axis:])
    return lambda x: x.reshape(rows, columns)


def _transpose(node: Node) -> Function:
    order = [int(axis) for axis in node.number("perm", list(reversed(range(node.rank()))))]
    return lambda x: x.permute(order)


def _squeeze(node: Node) -> Function:
    axes = node.axes(1, 13)
    if axes is None:
        axes = [i for i, size in enumerate(node.shape()) if size == 1]
    dropped = {axis % node.rank() for axis in axes}
    shape = [size for i, size in enumerate(node.shape()) if i not in dropped]
    return lambda x, _=None: x.reshape(shape)


def _unsqueeze(node: Node) -> Function:
    axes = node.axes(1, 13, [])
    rank = node.rank() + len(axes or [])
    new = sorted(axis % rank for axis in axes or [])

    def run(x: Tensor, _: object = None) -> Tensor:
        for axis in new:
            x = x.unsqueeze(axis)
        return x

    return run


def _concat(node: Node) -> Function:
    import torch

    axis = node.number("axis", 0)
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Function:
    import torch

    axis = node.number("axis", 0)
    size = node.shape()[axis]
    if node.opset >= 13:
        sizes = node.integers(1, "split") if node.has(1) else None
    else:
        sizes = [int(part) for part in node.attributes["split"]] if "split" in node.attributes else None
    if sizes is None:
        part = -(-size // node.number("num_outputs", node.outputs))
        count = node.number("num_outputs", node.outputs)
        sizes = [max(0, min(part, size - i * part)) for i in range(count)]
    return lambda x, _=None: tuple(torch.split(x, sizes, axis))


def _expand(node: Node) -> Function:
    wanted = node.integers(1, "shape")
    rank = max(len(wanted), node.rank())
    have = [1] * (rank - node.rank()) + list(node.shape())
    wanted = [1] * (rank - len(wanted)) + wanted
    sizes = [max(old, new) if new else 0 for old, new in zip(have, wanted, strict=True)]
    return lambda x, _=None: x.expand(sizes)


def _tile(node: Node) -> Function:
    repeats = node.integers(1, "repeats")
    return lambda x, _=None: x.repeat(repeats)


def _shape(node: Node) -> Function:
    import torch

    shape = node.shape()
    start, end = node.number("start", 0), node.number("end", len(shape))
    sizes = list(shape[start:end])
    node.baked.add(0)
    return lambda _=None: torch.tensor(sizes, dtype=torch.int64)


def _size(node: Node) -> Function:
    import torch

    size = math.prod(node.shape())
    node.baked.add(0)
    return lambda _=None: torch.tensor(size, dtype=torch.int64)


def _constant(node: Node) -> Function:
    import torch

    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64)):
        if name in node.attributes:
            value = torch.tensor(node.attributes[name], dtype=dtype)
            return lambda: value
    for name, dtype in (("value_floats", torch.float32), ("value_ints", torch.int64)):
        if name in node.attributes:
            values = torch.tensor(list(node.attributes[name]), dtype=dtype)
            return lambda: values
    if "value" not in node.attributes:
        raise UnsupportedError("it is a constant of text or a sparse constant")
    tensor = node.attributes["value"]
    return lambda: tensor


def _constant_of_shape(node: Node) -> Function:
    import torch

    sizes = node.integers(0, "shape")
    value = node.attributes.get("value", torch.zeros(1))
    return lambda _=None: value.reshape(-1)[0].expand(sizes).clone()


def _range(node: Node) -> Function:
    import torch

    start, limit, step = (node.constant(i, "bounds") for i in range(3))
    dtype = start.dtype
    return lambda *_: torch.arange(start.item(), limit.item(), step.item(), dtype=dtype)


def _eye_like(node: Node) -> Function:
    import torch

    rows, columns = node.shape()
    dtype = torch_dtype(node.attributes["dtype"]) if "dtype" in node.attributes else node.inputs[0].dtype
    offset = node.number("k", 0)
    node.baked.add(0)
    grid = torch.arange(columns)[None, :] - torch.arange(rows)[:, None]
    return lambda _=None: (grid == offset).to(dtype)


def _trilu(node: Node) -> Function:
    import torch

    diagonal = node.integers(1, "k")[0] if node.has(1) else 0
    function = torch.triu if node.number("upper", 1) else torch.tril
    return lambda x, _=None: function(x, diagonal)


def _depth_to_space(node: Node) -> Function:
    block = node.number("blocksize", 1)
    n, c, h, w = node.shape()
    if node.number("mode", "DCR") == "CRD":
        import torch

        return lambda x: torch.nn.functional.pixel_shuffle(x, block)
    inner = c // (block * block)

    def run(x: Tensor) -> Tensor:
        split = x.reshape(n, block, block, inner, h, w)
        return split.permute(0, 3, 4, 1, 5, 2).reshape(n, inner, h * block, w * block)

    return run


def _space_to_depth(node: Node) -> Function:
    block = node.number("blocksize", 1)
    n, c, h, w = node.shape()

    def run(x: Tensor) -> Tensor:
        split = x.reshape(n, c, h // block, block, w // block, block)
        return split.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block * block, h // block, w // block)

    return run


OPERATORS: Final[Mapping[str, Builder]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Expand": _expand,
    "Tile": _tile,
    "Shape": _shape,
    "Size": _size,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "EyeLike": _eye_like,
    "Trilu": _trilu,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
"""Operator type to builder."""
