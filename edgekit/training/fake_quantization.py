"""Rounding that can be trained through. Runs in a worker that has torch.

Forward, a value is what an integer kernel reads; backward, rounding is taken for the identity (the straight-through
estimator: Bengio, Leonard, Courville, 2013). The step s of a grid is learned as in Esser et al., "Learned Step Size
Quantization", 2020, eq. 1 to 3: with v the value, n and p the grid's ends,

    rounded = s * round(clip(v / s, n, p))
    d rounded / d s = round(v / s) - v / s   where n < v / s < p,   n or p outside

which automatic differentiation gives by itself; its gradient is scaled by 1 / sqrt(count * p) (section 2.2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

INT8_LOW: Final = -128
INT8_HIGH: Final = 127


class FakeActivation(nn.Module):  # type: ignore[misc]  # torch is Any here
    """Rounds an activation to one affine int8 grid whose step is learned; its zero point stays.

    Args:
        scale: The step to start with.
        zero_point: The integer that stands for 0.
        learned: Train the step.
    """

    def __init__(self, scale: float, zero_point: int, *, learned: bool) -> None:
        super().__init__()
        self.low, self.high = INT8_LOW - zero_point, INT8_HIGH - zero_point
        # A positive number that is trained without a bound is trained by its logarithm.
        self.log_scale = _logarithm(torch.tensor(math.log(scale)), learned=learned)

    def forward(self, value: Tensor) -> Tensor:
        """Returns the value as an integer kernel reads it."""
        factor = 1.0 / math.sqrt(value[0].numel() * max(-self.low, self.high))
        scale = scaled_gradient(self.log_scale, factor).exp()
        return straight_round((value / scale).clamp(self.low, self.high)) * scale

    def scale(self) -> float:
        """Returns the step."""
        return float(self.log_scale.detach().exp())


class FakeWeight(nn.Module):  # type: ignore[misc]  # torch is Any here
    """Rounds a weight as converters do: for each output channel, the largest weight is the end of a symmetric grid.

    Four bits are stored in eight: k of -7..7 as round(127 k / 7), which every int8 kernel reads. There, the end of the
    grid is learned too, and the weights beyond it are clipped.

    Args:
        weight: (outputs, inputs, ...), or transposed.
        axis: Axis of the output channels; None for one scale.
        bits: 8 or 4.
    """

    def __init__(self, weight: Tensor, axis: int | None, bits: int) -> None:
        super().__init__()
        self.axis, self.bits = axis, bits
        self.high = 2 ** (bits - 1) - 1
        if bits < 8:
            self.log_step = _logarithm(self._best_steps(weight.detach()).log(), learned=True)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight as an integer kernel reads it."""
        if self.bits == 8:
            step = self._ends(weight) / self.high
            # The step follows the largest weight, as in the converters: no gradient goes through it.
            return straight_round((weight / step.detach()).clamp(-self.high, self.high)) * step.detach()
        factor = 1.0 / math.sqrt(weight.numel() / max(1, self.log_step.numel()) * self.high)
        step = scaled_gradient(self.log_step, factor).exp()
        levels = straight_round((weight / step).clamp(-self.high, self.high))
        return stored_levels(levels, self.high) * step * (self.high / INT8_HIGH)

    def bake(self, weight: Tensor) -> Tensor:
        """Returns the rounded weight, with one weight of each channel at the very end of the grid.

        Converters take the step from the largest weight. Where learning has left the last level of a channel empty, its
        largest weight is moved there.
        """
        with torch.no_grad():
            rounded = self(weight)
            if self.bits == 8:
                return rounded
            end = (self.log_step.exp() * self.high).expand_as(self._ends(weight))
            flat, ends = self._rows(rounded).clone(), end.reshape(-1)
            largest = flat.abs().argmax(dim=1)
            rows = torch.arange(len(flat))
            empty = (flat[rows, largest].abs() < ends * (1 - 1e-4)) & (flat[rows, largest] != 0)
            flat[rows[empty], largest[empty]] = (flat[rows, largest].sign() * ends)[empty]
            return self._unrows(flat, rounded)

    def _best_steps(self, weight: Tensor) -> Tensor:
        """Returns for each channel the step with the least squared error, of 40 between a fifth and all of its end."""
        ends = self._ends(weight).clamp(min=1e-12)
        best, least = ends / self.high, torch.full_like(ends, math.inf)
        others = tuple(i for i in range(weight.ndim) if i != self.axis)
        for share in torch.linspace(0.2, 1.0, 40):
            step = ends * share / self.high
            levels = torch.round(weight / step).clamp(-self.high, self.high)
            error = (levels * step - weight).square().sum(dim=others, keepdim=True)
            best, least = torch.where(error < least, step, best), torch.minimum(error, least)
        return best

    def _ends(self, weight: Tensor) -> Tensor:
        """Returns the largest absolute weight of each channel, in a shape that spreads over the weight."""
        if self.axis is None:
            return weight.abs().max().reshape([1] * weight.ndim)
        others = tuple(i for i in range(weight.ndim) if i != self.axis)
        ends = weight.abs().amax(dim=others, keepdim=True)
        spare = ends.max().clamp(min=1e-30)  # as converters do: a channel of zeros gets the tensor's largest
        return torch.where(ends > 0, ends, spare)

    def _rows(self, weight: Tensor) -> Tensor:
        return weight.reshape(1, -1) if self.axis is None else weight.transpose(0, self.axis).flatten(1)

    def _unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        if self.axis is None:
            return rows.reshape(like.shape)
        return rows.reshape(like.transpose(0, self.axis).shape).transpose(0, self.axis).contiguous()


def straight_round(value: Tensor) -> Tensor:
    """Returns the value rounded to the nearest even integer; its gradient is that of the value."""
    return value + (torch.round(value) - value).detach()


def stored_levels(levels: Tensor, high: int) -> Tensor:
    """Returns levels -high..high as the int8 values that stand for them; the gradient is that of a stretch."""
    stretched = levels * (INT8_HIGH / high)
    return stretched + (torch.round(stretched) - stretched).detach()


def scaled_gradient(value: Tensor, factor: float) -> Tensor:
    """Returns the value; its gradient is multiplied by `factor`."""
    return value.detach() + (value - value.detach()) * factor


def _logarithm(value: Tensor, *, learned: bool) -> Tensor:
    """Returns a parameter that is a logarithm: its learning rate does not follow its size (see `Schedule.relative`)."""
    made: Any = nn.Parameter(value, requires_grad=learned)
    made.is_log = True
    return made
