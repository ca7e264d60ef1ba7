"""Quantization of activations."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel

RANGES: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}
STORAGE: dict[str, torch.dtype] = {"int8": torch.int8, "uint8": torch.uint8}


def _per_axis(call: Call, parameter: str, x: Tensor) -> Tensor | None:
    """Returns a scale or zero point as floats, shaped to broadcast; None where it is zero or not given."""
    values = call.optional(parameter)
    if values is None:
        return None
    values = values.float()
    if values.numel() == 1:
        values = values.reshape(())
        return None if values.item() == 0 else values
    shape = [1] * x.dim()
    shape[call.integer("axis", 0)] = -1
    return values.reshape(shape)


def _quantize(call: Call) -> Tensor:
    """`clip(round(input / scale) + zero_point)`; halves are rounded to even."""
    x, dtype = call.tensor("input"), call.output_dtype()
    scale, zero_point = _per_axis(call, "scale", x), _per_axis(call, "zero_point", x)
    levels = torch.div(x, torch.zeros(()) if scale is None else scale).round_()  # a new tensor: may change in place
    if zero_point is not None:
        levels.add_(zero_point)
    return levels.clamp_(*RANGES[dtype]).to(STORAGE[dtype])


def _dequantize(call: Call) -> Tensor:
    """`scale * (input - zero_point)`."""
    x = call.tensor("input")
    scale, zero_point = _per_axis(call, "scale", x), _per_axis(call, "zero_point", x)
    levels = x.to(torch.float32)
    if zero_point is not None:
        levels = levels.sub_(zero_point)
    return levels.mul_(torch.zeros(()) if scale is None else scale)


OPERATORS: dict[str, Kernel] = {"dequantize": _dequantize, "quantize": _quantize}
"""By operator type."""
