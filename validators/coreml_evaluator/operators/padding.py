"""Padding of windows (convolution, pooling): how `pad_type` becomes numbers of elements."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call


def window_padding(
    call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """Returns the elements before and after each spatial dimension.

    `same` gives `ceil(size / stride)` outputs and puts the odd element after, `same_lower` before.

    Args:
        call: The operator, for `pad_type` and `pad`.
        sizes: Spatial sizes of the input.
        kernel: Kernel sizes.
        strides: Strides.
        dilations: Dilations.
    """
    kind = call.text("pad_type", "valid").lower()
    if kind == "custom":
        pad = call.integers("pad", [0] * (2 * len(sizes)))
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    result: list[tuple[int, int]] = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        result.append((more, less) if kind == "same_lower" else (less, more))
    return result


def pad_spatial(x: Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Returns `x` padded along its last dimensions, one pair each, first pair for the first of them."""
    if all(before == after == 0 for before, after in padding):
        return x
    flat = [amount for pair in reversed(padding) for amount in pair]  # torch starts at the last dimension
    return functional.pad(x, flat, value=value)
