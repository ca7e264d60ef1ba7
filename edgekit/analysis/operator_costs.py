"""Multiply-accumulates and kernel classes, in terms that every source can give.

One multiply-accumulate is one product and one sum: a 3 x 3 convolution from 16 to 32 channels costs 9 * 16 MACs for
each of its output values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.analysis.graph import KernelClass, elements


def conv_kernel(kernel_size: Sequence[int], groups: int, in_channels: int) -> KernelClass:
    """Returns the class of a convolution.

    Args:
        kernel_size: Spatial sizes of the filter.
        groups: Number of groups.
        in_channels: Channels of the input, all groups together.
    """
    if groups > 1 and groups == in_channels:
        return "depthwise_conv"
    return "pointwise_conv" if groups == 1 and math.prod(kernel_size) == 1 else "dense_conv"


def conv_macs(output: Sequence[int], kernel_size: Sequence[int], channels_per_group: int) -> int:
    """Returns the MACs of a convolution: each output value sums `channels_per_group` filters of `kernel_size`."""
    return elements(tuple(output)) * math.prod(kernel_size) * channels_per_group


def matmul_macs(output: Sequence[int], inner: int) -> int:
    """Returns the MACs of a matrix product: each output value sums `inner` products."""
    return elements(tuple(output)) * inner


def recurrent_macs(matrices: Sequence[Sequence[int]], steps: int, batch: int) -> int:
    """Returns the MACs of a recurrent layer: every matrix is applied once per time step and sequence."""
    return steps * batch * sum(elements(tuple(shape)) for shape in matrices)


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Returns the MACs of a product of two tensors in einsum's notation: the product of all index sizes.

    Equations with an ellipsis count what they name.
    """
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=False):
        for letter, size in zip(term.replace("...", ""), shape[-len(term.replace("...", "")) :], strict=False):
            sizes[letter] = int(size)
    return math.prod(sizes.values())


def conv_attributes(kernel_size: Sequence[int], steps: Sequence[int], groups: int) -> dict[str, int]:
    """Returns what decides a convolution's speed beside its sizes, as `Operator.attributes`.

    Args:
        kernel_size: Spatial sizes of the filter, one to three.
        steps: Strides; one for all axes, or one an axis; empty for 1.
        groups: Number of groups.
    """
    last = steps[-1] if steps else 1
    first = steps[-2] if len(steps) > 1 else last
    return {
        "kernel_h": kernel_size[-2] if len(kernel_size) > 1 else 1,
        "kernel_w": kernel_size[-1],
        "stride_h": first if len(kernel_size) > 1 else 1,
        "stride_w": last,
        "groups": groups,
    }
