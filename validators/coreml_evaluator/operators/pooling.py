"""Pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel
from edgekit.validators.coreml_evaluator.operators.padding import pad_spatial, window_padding

MEANS: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
MAXIMA: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}


def _windows(call: Call, x: Tensor) -> tuple[list[int], list[int], list[tuple[int, int]], list[int]]:
    """Returns kernel sizes, strides, padding, and the elements that `ceil_mode` adds after the padding.

    With `ceil_mode` the number of outputs is rounded up, less one where the last window would start in the padding.
    """
    spatial = x.dim() - 2
    kernel, strides = call.integers("kernel_sizes"), call.integers("strides", [1] * spatial)
    padding = window_padding(call, x.shape[2:], kernel, strides, [1] * spatial)
    extra = [0] * spatial
    if call.flag("ceil_mode", default=False):
        for axis, (before, after) in enumerate(padding):
            size, total = x.shape[2 + axis], before + after
            outputs = -(-(size + total - kernel[axis]) // strides[axis]) + 1
            if total > 0 and (outputs - 1) * strides[axis] >= size + total / 2:
                outputs -= 1
            extra[axis] = max(0, (outputs - 1) * strides[axis] + kernel[axis] - size - total)
    return kernel, strides, padding, extra


def _extended(padding: Sequence[tuple[int, int]], extra: Sequence[int]) -> list[tuple[int, int]]:
    return [(before, after + more) for (before, after), more in zip(padding, extra, strict=True)]


def _max_pool(call: Call) -> Tensor:
    x = call.tensor("x")
    kernel, strides, padding, extra = _windows(call, x)
    padded = pad_spatial(x, _extended(padding, extra), value=float("-inf"))
    return MAXIMA[x.dim() - 2](padded, kernel, strides)


def _avg_pool(call: Call) -> Tensor:
    x = call.tensor("x")
    kernel, strides, padding, extra = _windows(call, x)
    mean = MEANS[x.dim() - 2]
    result = mean(pad_spatial(x, _extended(padding, extra)), kernel, strides)
    exclude = call.flag("exclude_padding_from_average", default=False)
    if not any(extra) and not (exclude and any(sum(pair) for pair in padding)):
        return result
    # Divide by the elements that count: never those that ceil_mode adds, and padding only where it is included.
    counted = torch.ones(1, 1, *x.shape[2:])
    counted = pad_spatial(counted, padding, value=0.0 if exclude else 1.0)
    return result / mean(pad_spatial(counted, [(0, more) for more in extra]), kernel, strides)


def _l2_pool(call: Call) -> Tensor:
    """Square root of the sum of squares of each window."""
    x = call.tensor("x")
    kernel, strides, padding, extra = _windows(call, x)
    squares = pad_spatial(x * x, _extended(padding, extra))
    return torch.sqrt(MEANS[x.dim() - 2](squares, kernel, strides) * prod(kernel))


OPERATORS: dict[str, Kernel] = {"avg_pool": _avg_pool, "l2_pool": _l2_pool, "max_pool": _max_pool}
"""By operator type."""
