"""Fake quantization: float tensors that hold only what an integer grid can hold.

Weights are symmetric, w_q = s * clamp(round(w / s), -h, h) with s = max |w| / h over each channel or group
(Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, section 3), at 4 bits with the
scale that `quantization.grouped_weights` finds; activations are affine, x_q = s * (clamp(round(x / s) + z, low, high) -
z) (Jacob et al., 2018, eq. 1). Everything works on torch tensors and keeps their shape and dtype; rounding is to the
nearest even integer, as kernels do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, final

from edgekit.quantization.grouped_weights import round_groups
from edgekit.quantization.ranges import Grid

if TYPE_CHECKING:
    from torch import Tensor

INT8_LOW: Final = -128
INT8_HIGH: Final = 127

ActivationKind = Literal["static", "dynamic_row", "dynamic_tensor", "float16"]
"""How an activation is rounded:

static          on one calibrated grid
dynamic_row     on a grid found at run time for each row of the last axis
dynamic_tensor  on a grid found at run time for each sample
float16         to 16-bit float
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WeightQuantizer:
    """Rounds one weight.

    Attributes:
        bits: 8 or 4 for integers, 16 for 16-bit float.
        axis: Axis with a scale for each index; None for one scale. Not used with groups.
        group_size: Neighbours of the last axis that share a scale; None for channels.
    """

    bits: int
    axis: int | None = 0
    group_size: int | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        """Returns the weight as its stored form reads back; a new tensor of the same shape."""
        import torch

        exact = weight.detach()
        if self.bits == 16:
            return exact.to(torch.float16).to(exact.dtype)
        high = 2 ** (self.bits - 1) - 1
        if self.group_size is not None and self.bits == 4:
            rows = exact.float().reshape(-1, exact.shape[-1]).numpy()
            found = torch.from_numpy(round_groups(rows, self.group_size).values())
            return found.reshape(exact.shape).to(exact.dtype)
        if self.group_size is not None:
            groups = exact.reshape(-1, self.group_size)
            return _rounded(groups, groups.abs().amax(dim=1, keepdim=True) / high, -high, high).reshape(exact.shape)
        if self.axis is None:
            return _rounded(exact, exact.abs().max() / high, -high, high)
        others = [i for i in range(exact.ndim) if i != self.axis % exact.ndim]
        return _rounded(exact, exact.abs().amax(dim=others, keepdim=True) / high, -high, high)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationQuantizer:
    """Rounds one activation.

    Attributes:
        kind: See ActivationKind.
        grid: The grid of the kind `static`, None for others.
    """

    kind: ActivationKind
    grid: Grid | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """Returns the activation as an integer kernel reads it; batch is the first axis."""
        import torch

        if self.kind == "float16":
            return value.to(torch.float16).to(value.dtype)
        if self.grid is not None:
            return torch.fake_quantize_per_tensor_affine(
                value, self.grid.scale, self.grid.zero_point, INT8_LOW, INT8_HIGH
            )
        return _dynamic(value, [value.ndim - 1] if self.kind == "dynamic_row" else list(range(1, value.ndim)))


def _rounded(exact: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    import torch

    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.clamp(torch.round(exact / safe), low, high) * safe


def _dynamic(value: Tensor, axes: list[int]) -> Tensor:
    """Returns the value on affine int8 grids whose ranges are its own over `axes`, widened to include 0."""
    import torch

    low = value.amin(dim=axes, keepdim=True).clamp(max=0.0)
    high = value.amax(dim=axes, keepdim=True).clamp(min=0.0)
    scale = (high - low) / (INT8_HIGH - INT8_LOW)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = torch.clamp(torch.round(INT8_LOW - low / scale), INT8_LOW, INT8_HIGH)
    return (torch.clamp(torch.round(value / scale) + zero, INT8_LOW, INT8_HIGH) - zero) * scale
