"""Rounds weights column by column, each column's error made up for by the columns that follow.

For a layer y = W x the squared error of its output on the calibration data is a quadratic form in the weights,

    E || (Q - W) x ||^2 = tr (Q - W) H (Q - W)^T,   H = E[x x^T],

so rounding to nearest, which minimises every |Q - W| by itself, is not the best. Frantar et al., "GPTQ: Accurate
Post-Training Quantization for Generative Pre-trained Transformers" (2022), algorithm 1, rounds one column after the
other and moves the error of each onto the columns that are still free, by the Cholesky factor of H^-1. Two additions:
columns with the largest diagonal come first (their "act-order"), and cyclic coordinate descent afterwards: each integer
is set to its best value while the others stay, until no change helps. Both keep H and never see the data again.

Everything is batched over groups of a convolution: G problems of R outputs and K inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from torch import Tensor

INT8_HIGH: Final = 127
INT4_HIGH: Final = 7
_SHRINKS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which values each weight may take: scale * q with |q| <= high.

    Attributes:
        scale: (G, R, K) float64 > 0.
        high: Largest integer.
        pinned: (G, R, K) bool: the weights that stay at +-high. A quantizer takes each scale from the largest weight,
            so one of those that share a scale has to stay there, or it would find another scale.
    """

    scale: Tensor
    high: int
    pinned: Tensor


def make_grid(weights: Tensor, high: int, group: int, shrink: Tensor | None = None) -> Grid:
    """Returns the grid that a symmetric quantizer finds for `weights`, or one that is finer and clips.

    Args:
        weights: (G, R, K) float64.
        high: 127 or 7.
        group: Columns that share a scale; K for one scale per output.
        shrink: (G, R, K / group) factor on the scale, at most 1: weights beyond high * scale are clipped to it.
    """
    import torch

    parts = weights.reshape(*weights.shape[:-1], -1, group)
    largest, where = parts.abs().max(dim=-1)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / high
    if shrink is not None:
        scale = scale * shrink
    # What artifacts store: float32, or the 8 significant bits that runtimes keep of the scale of a 4-bit group. Either
    # way high * scale is exact enough in float32 to give the scale back when it is divided by high again.
    stored = torch.bfloat16 if high == INT4_HIGH else torch.float32
    scale = scale.to(stored).to(weights.dtype)
    pinned = torch.zeros_like(parts, dtype=torch.bool).scatter_(-1, where[..., None], value=True)
    pinned &= (largest > 0)[..., None]
    return Grid(
        scale=scale[..., None].expand_as(parts).reshape(weights.shape), high=high, pinned=pinned.reshape(weights.shape)
    )


def best_shrink(weights: Tensor, importance: Tensor, high: int, group: int) -> Tensor:
    """Returns the factor on each scale, (G, R, K / group), at which rounding to nearest errs least.

    A finer grid clips the few largest weights and rounds all others better: worth it with 15 steps, not with 255.

    Args:
        weights: (G, R, K) float64.
        importance: (G, K): weight of each column's squared error.
        high: Largest integer.
        group: Columns that share a scale.
    """
    import torch

    best: Any = None
    least: Any = None
    for factor in _SHRINKS:
        tried = torch.full((*weights.shape[:2], weights.shape[2] // group), factor, dtype=weights.dtype)
        grid = make_grid(weights, high, group, tried)
        squares = (nearest(weights, grid, weights) * grid.scale - weights).square() * importance[:, None, :]
        errors = squares.reshape(*weights.shape[:2], -1, group).sum(dim=-1)
        best = tried if best is None or least is None else torch.where(errors < least, tried, best)
        least = errors if least is None else torch.minimum(errors, least)
    return best


def nearest(target: Tensor, grid: Grid, signs: Tensor) -> Tensor:
    """Returns the nearest integers (G, R, K) float64; pinned ones are at +-high with the sign of `signs`."""
    import torch

    integers = torch.clamp(torch.round(target / grid.scale), -grid.high, grid.high)
    return torch.where(grid.pinned, torch.sign(signs) * grid.high, integers)


def error_of(integers: Tensor, target: Tensor, hessian: Tensor, grid: Grid) -> Tensor:
    """Returns the squared error of each output, (G, R): (Q - W) H (Q - W)^T."""
    difference = integers * grid.scale - target
    return ((difference @ hessian) * difference).sum(dim=-1)


def round_columns(target: Tensor, hessian: Tensor, grid: Grid, signs: Tensor) -> Tensor:
    """Returns integers (G, R, K) float64 by GPTQ.

    Args:
        target: (G, R, K) float64: what the weights should be.
        hessian: (G, K, K) float64, positive definite: E[x x^T] of the layer's inputs.
        grid: Where they may be.
        signs: (G, R, K): the signs of pinned weights.
    """
    import torch

    ends = torch.sign(signs) * grid.high

    def choose(column: Tensor, places: Tensor) -> Tensor:
        where = places[:, None, None].expand(-1, target.shape[1], 1)
        scale, pinned, end = (item.gather(2, where)[:, :, 0] for item in (grid.scale, grid.pinned, ends))
        chosen = torch.clamp(torch.round(column / scale), -grid.high, grid.high)
        return torch.where(pinned, end, chosen) * scale

    return torch.round(choose_columns(target, hessian, choose) / grid.scale)


def choose_columns(target: Tensor, hessian: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns weights (G, R, K) float64, chosen column by column, each column's error moved onto those that follow.

    Args:
        target: (G, R, K) float64: what the weights should be.
        hessian: (G, K, K) float64, positive definite: E[x x^T] of the layer's inputs.
        choose: Given what a column should be now (G, R) and which column that is in each group (G,), returns what it
            becomes (G, R).
    """
    import torch

    order = hessian.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True)  # (G, K)
    rows = order[:, None, :].expand_as(target)
    sorted_hessian = hessian.gather(1, order[:, :, None].expand_as(hessian))
    sorted_hessian = sorted_hessian.gather(2, order[:, None, :].expand_as(hessian))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(sorted_hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = target.gather(2, rows).clone()
    made = torch.empty_like(left)
    for k in range(left.shape[2]):
        chosen = choose(left[:, :, k], order[:, k])
        made[:, :, k] = chosen
        error = (left[:, :, k] - chosen) / factor[:, k, k, None]
        left[:, :, k + 1 :] -= error[..., None] * factor[:, None, k, k + 1 :]
    return torch.empty_like(made).scatter_(2, rows, made)


def descend(integers: Tensor, target: Tensor, hessian: Tensor, grid: Grid, sweeps: int) -> Tensor:
    """Returns integers whose error is no larger: coordinate descent from `integers`, at most `sweeps` times."""
    import torch

    integers = integers.clone()
    gradient = (integers * grid.scale - target) @ hessian
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    for _ in range(sweeps):
        changed = False
        for k in range(integers.shape[2]):
            old, scale = integers[:, :, k], grid.scale[:, :, k]
            best = old - gradient[:, :, k] / (diagonal[:, k, None] * scale)
            new = torch.where(grid.pinned[:, :, k], old, torch.clamp(torch.round(best), -grid.high, grid.high))
            step = (new - old) * scale
            if bool(step.any()):
                changed = True
                integers[:, :, k] = new
                gradient += step[..., None] * hessian[:, None, k, :]
        if not changed:
            break
    return integers
