"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.convolutions import explicit_pads, torch_pads
from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def _geometry(node: Node) -> tuple[list[int], list[int], list[int], list[int]]:
    """Returns kernel, strides, dilations and pads [begin..., end...]."""
    kernel = [int(size) for size in node.number("kernel_shape", [])]
    strides = [int(step) for step in node.number("strides", [1] * len(kernel))]
    dilations = [int(step) for step in node.number("dilations", [1] * len(kernel))]
    if len(kernel) not in (1, 2, 3):
        raise UnsupportedError(f"it has {len(kernel)} spatial axes; 1, 2 and 3 are supported")
    return kernel, strides, dilations, explicit_pads(node, kernel, strides, dilations)


def _ceil_extra(
    node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]
) -> list[int]:
    """Returns how much longer each axis must be so that rounding down gives what `ceil_mode` gives."""
    axes = len(kernel)
    if not node.number("ceil_mode", 0):
        return [0] * axes
    extra: list[int] = []
    for i, size in enumerate(node.shape()[2:]):
        reach = dilations[i] * (kernel[i] - 1) + 1
        padded = size + pads[i] + pads[axes + i]
        count = math.ceil((padded - reach) / strides[i]) + 1
        # A window that would begin in the padding behind the end is dropped.
        if (count - 1) * strides[i] >= size + pads[i]:
            count -= 1
        extra.append(max(0, (count - 1) * strides[i] + reach - padded))
    return extra


def _max_pool(node: Node) -> Function:
    import torch

    if node.outputs > 1:
        raise UnsupportedError("its second output, the indices, is used")
    kernel, strides, dilations, pads = _geometry(node)
    axes = len(kernel)
    extra = _ceil_extra(node, kernel, strides, dilations, pads)
    function = getattr(torch.nn.functional, f"max_pool{axes}d")
    symmetric = (
        pads[:axes] == pads[axes:] and not any(extra) and all(2 * p <= k for p, k in zip(pads, kernel, strict=False))
    )
    if symmetric:
        return lambda x: function(x, kernel, strides, pads[:axes], dilations)
    outside = torch_pads([*pads[:axes], *(pad + more for pad, more in zip(pads[axes:], extra, strict=True))])
    lowest = -math.inf if node.inputs[0].is_floating_point() else torch.iinfo(node.inputs[0].dtype).min
    return lambda x: function(torch.nn.functional.pad(x, outside, value=lowest), kernel, strides, 0, dilations)


def _average_pool(node: Node) -> Function:
    import torch

    kernel, strides, dilations, pads = _geometry(node)
    axes = len(kernel)
    if any(step != 1 for step in dilations):
        raise UnsupportedError("it is an average pool with dilations")
    extra = _ceil_extra(node, kernel, strides, dilations, pads)
    include = bool(node.number("count_include_pad", 0))
    function = getattr(torch.nn.functional, f"avg_pool{axes}d")
    fits = all(2 * pad <= size for pad, size in zip(pads, kernel, strict=False))
    if pads[:axes] == pads[axes:] and not any(extra) and fits:
        return lambda x: function(x, kernel, strides, pads[:axes], False, include)
    inside = torch_pads(pads)
    behind = torch_pads([*[0] * axes, *extra])

    def padded(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(torch.nn.functional.pad(x, inside), behind)

    # Each window divides by the number of values that count in it: a constant.
    ones = torch.ones((1, 1, *node.shape()[2:]))
    counted = torch.nn.functional.pad(torch.nn.functional.pad(ones, inside, value=float(include)), behind)
    factor = (1.0 / function(counted, kernel, strides)).to(node.inputs[0].dtype)
    return lambda x: function(padded(x), kernel, strides) * factor


def _lp_pool(node: Node) -> Function:
    import torch

    kernel, strides, dilations, pads = _geometry(node)
    power = node.number("p", 2)
    if any(step != 1 for step in dilations) or len(kernel) != 2 or node.number("ceil_mode", 0):
        raise UnsupportedError("it is an LpPool with dilations, ceil_mode, or other than 2 spatial axes")
    outside = torch_pads(pads)
    window, steps = (kernel[0], kernel[1]), (strides[0], strides[1])
    return lambda x: torch.nn.functional.lp_pool2d(torch.nn.functional.pad(x, outside), power, window, steps)


def _global_pool(node: Node) -> Function:
    import torch

    axes = node.rank() - 2
    if node.operator == "GlobalAveragePool":
        function = getattr(torch.nn.functional, f"adaptive_avg_pool{axes}d") if axes in (1, 2, 3) else None
        if function is not None:
            return lambda x: function(x, [1] * axes)
    spatial = list(range(2, node.rank()))
    if node.operator == "GlobalMaxPool":
        return lambda x: torch.amax(x, spatial, keepdim=True)
    if node.operator == "GlobalAveragePool":
        return lambda x: torch.mean(x, spatial, keepdim=True)
    power = node.number("p", 2)
    return lambda x: torch.linalg.vector_norm(x, power, spatial, keepdim=True)


OPERATORS: Final[Mapping[str, Builder]] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
}
"""Operator type to builder."""
