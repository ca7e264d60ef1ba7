"""Quantization of activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel
from edgekit.validators.coreml_evaluator.operators.tensor_types import parts_of

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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GridPair:
    """A `quantize` and the `dequantize` of its result, as one operation.

    Attributes:
        scale: What `quantize` divides by.
        zero_point: What it adds, None for nothing.
        limits: Lowest and highest integer.
        back: What `dequantize` subtracts, None for nothing.
        step: What it multiplies by.
    """

    scale: Tensor
    zero_point: Tensor | None
    limits: tuple[float, float]
    back: Tensor | None
    step: Tensor

    @classmethod
    def of(cls, quantize: Call, dequantize: Call, x: Tensor) -> GridPair:
        """Returns the pair for values of the rank of `x`."""
        scale, zero_point = _per_axis(quantize, "scale", x), _per_axis(quantize, "zero_point", x)
        step, back = _per_axis(dequantize, "scale", x), _per_axis(dequantize, "zero_point", x)
        low, high = RANGES[quantize.output_dtype()]
        if zero_point is not None and back is not None and zero_point.dim() == 0 and torch.equal(zero_point, back):
            # Whole numbers: what is added before the limits and taken away after them can move the limits instead.
            low, high = low - int(zero_point.item()), high - int(zero_point.item())
            zero_point = back = None
        none = torch.zeros(())
        return cls(
            scale=none if scale is None else scale,
            zero_point=zero_point,
            limits=(low, high),
            back=back,
            step=none if step is None else step,
        )

    def apply(self, x: Tensor, *, rounded: bool, in_place: bool) -> Tensor:
        """Returns `step * (clip(round(x / scale) + zero_point) - back)`, without integers in between.

        Part by part, so that each stays in the processor's cache from the first operation to the last: memory is what
        the two operators wait for.

        Args:
            x: The values.
            rounded: Round the result to fp16.
            in_place: Nobody else needs `x`: the result takes its place.
        """
        made = x if in_place else torch.empty_like(x)
        tensors = (self.scale, self.zero_point, self.back, self.step)
        in_parts = x.stride() == made.stride() and all(value is None or value.dim() == 0 for value in tensors)
        for values, results in zip(*(map(parts_of, (x, made)) if in_parts else ((x,), (made,))), strict=True):
            torch.div(values, self.scale, out=results).round_()
            if self.zero_point is not None:
                results.add_(self.zero_point)
            results.clamp_(*self.limits)
            if self.back is not None:
                results.sub_(self.back)
            results.mul_(self.step)
            if rounded:
                results.copy_(results.to(torch.float16))
        return made


OPERATORS: dict[str, Kernel] = {"dequantize": _dequantize, "quantize": _quantize}
"""By operator type."""
