"""Reductions, arg-reductions, cumulative sums and top-k."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def _functions() -> dict[str, Callable[[Tensor, list[int], bool], Tensor]]:
    """Returns for each operator a function (x, axes, keepdim)."""
    import torch

    return {
        "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep),
        "ReduceMean": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
        "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
        "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
        "ReduceL1": lambda x, axes, keep: torch.sum(torch.abs(x), axes, keepdim=keep),
        "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep),
        "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keepdim=keep),
        "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keepdim=keep)),
        "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
        "ReduceProd": _product,
    }


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001  one of a table of functions
    import torch

    # torch multiplies along one axis at a time; from the last on, so that the others keep their numbers.
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _reduce(node: Node) -> Function:
    since = 13 if node.operator == "ReduceSum" else 18
    axes = node.axes(1, since)
    if not axes:
        if node.number("noop_with_empty_axes", 0):
            return lambda x, _=None: x
        axes = list(range(node.rank()))
    keep = bool(node.number("keepdims", 1))
    function = _functions()[node.operator]
    return lambda x, _=None: function(x, axes, keep)


def _arg(node: Node) -> Function:
    import torch

    axis, keep = node.number("axis", 0), bool(node.number("keepdims", 1))
    function = torch.argmax if node.operator == "ArgMax" else torch.argmin
    if not node.number("select_last_index", 0):
        return lambda x: function(x, axis, keepdim=keep)
    last = node.shape()[axis] - 1
    return lambda x: last - function(x.flip(axis), axis, keepdim=keep)


def _cumsum(node: Node) -> Function:
    import torch

    axis = node.integers(1, "axis")[0]
    exclusive, reverse = node.number("exclusive", 0), node.number("reverse", 0)

    def run(x: Tensor, _: object = None) -> Tensor:
        source = x.flip(axis) if reverse else x
        total = torch.cumsum(source, axis).to(x.dtype)
        total = total - source if exclusive else total
        return total.flip(axis) if reverse else total

    return run


def _top_k(node: Node) -> Function:
    import torch

    count = node.integers(1, "k")[0]
    axis, largest = node.number("axis", -1), bool(node.number("largest", 1))
    ordered = bool(node.number("sorted", 1))

    def run(x: Tensor, _: object = None) -> tuple[Tensor, Tensor]:
        values, indices = torch.topk(x, count, axis, largest, ordered)
        return values, indices

    return run


def _non_zero(node: Node) -> Function:
    import torch

    if not node.is_constant[0]:
        raise UnsupportedError("the shape of its output depends on values")
    return lambda x: torch.nonzero(x).T.contiguous()


OPERATORS: Final[Mapping[str, Builder]] = {
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"), _reduce
    ),
    **dict.fromkeys(("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"), _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    "CumSum": _cumsum,
    "TopK": _top_k,
    "NonZero": _non_zero,
}
"""Operator type to builder."""
