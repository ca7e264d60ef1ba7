"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel
from edgekit.validators.coreml_evaluator.operators.padding import pad_spatial, window_padding

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _conv(call: Call) -> Tensor:
    return _convolve(call, call.tensor("weight"))


def _conv_quantized(call: Call) -> Tensor:
    """Weights are `weight * quant_scale + quant_bias`, scale and bias per tensor or per output channel."""
    weight = call.tensor("weight").float()
    shape = [-1] + [1] * (weight.dim() - 1)
    scale, shift = call.tensor("quant_scale").reshape(shape), call.tensor("quant_bias").reshape(shape)
    return _convolve(call, weight * scale + shift)


def _convolve(call: Call, weight: Tensor) -> Tensor:
    x, bias = call.tensor("x"), call.optional("bias")
    spatial = x.dim() - 2
    strides, dilations = call.integers("strides", [1] * spatial), call.integers("dilations", [1] * spatial)
    padding = window_padding(call, x.shape[2:], weight.shape[2:], strides, dilations)
    both_sides = [before for before, after in padding if before == after]
    if len(both_sides) < spatial:  # torch pads both sides alike
        x, both_sides = pad_spatial(x, padding), [0] * spatial
    if bias is not None:
        bias = bias.to(x.dtype)
    if x.dim() == 4:  # twice as quick; what follows element by element keeps the layout
        x = x.contiguous(memory_format=torch.channels_last)
    return CONVOLUTIONS[spatial](x, weight, bias, strides, both_sides, dilations, call.integer("groups", 1))


def _conv_transpose(call: Call) -> Tensor:
    x, weight = call.tensor("x"), call.tensor("weight")
    spatial = x.dim() - 2
    strides, dilations = call.integers("strides", [1] * spatial), call.integers("dilations", [1] * spatial)
    groups: Any = call.integer("groups", 1)
    full = TRANSPOSED[spatial](x, weight, call.optional("bias"), strides, 0, 0, groups, dilations)
    begin, sizes = _transposed_window(call, x.shape[2:], full.shape[2:], strides)
    # A window may reach past the full result (output padding): zeros and the bias follow there.
    missing = [max(0, start + size - have) for start, size, have in zip(begin, sizes, full.shape[2:], strict=True)]
    if any(missing):
        full = _extend(full, missing, call.optional("bias"))
    window = tuple(slice(start, start + size) for start, size in zip(begin, sizes, strict=True))
    return full[(slice(None), slice(None), *window)]


def _transposed_window(
    call: Call, inputs: Sequence[int], full: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Returns where the result starts in the full transposed convolution, and its sizes."""
    kind = call.text("pad_type", "valid").lower()
    pad = call.integers("pad", [0] * (2 * len(full))) if kind == "custom" else [0] * (2 * len(full))
    begin = pad[::2]
    if call.has("output_shape"):
        sizes = call.integers("output_shape")[2:]
    elif kind == "same":
        sizes = [size * stride for size, stride in zip(inputs, strides, strict=True)]
    else:
        sizes = [size - before - after for size, before, after in zip(full, pad[::2], pad[1::2], strict=True)]
    if kind == "same":
        begin = [max(0, have - size) // 2 for have, size in zip(full, sizes, strict=True)]
    return begin, sizes


def _extend(full: Tensor, missing: Sequence[int], bias: Tensor | None) -> Tensor:
    if bias is None:
        return pad_spatial(full, [(0, amount) for amount in missing])
    column = bias.reshape([1, -1] + [1] * len(missing))
    return pad_spatial(full - column, [(0, amount) for amount in missing]) + column


OPERATORS: dict[str, Kernel] = {
    "conv": _conv,
    "conv_quantized": _conv_quantized,
    "conv_transpose": _conv_transpose,
}
"""By operator type."""
