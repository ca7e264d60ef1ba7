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

from dataclasses import dataclass
from typing import Any, Final, final

_DAMPING: Final = 0.01  # of the mean diagonal: the share that Frantar et al. add before inverting


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which values each weight may take: scale * q with |q| <= high.

    Attributes:
        scale: (G, R, K) float64 > 0.
        high: Largest integer.
        pinned: (G, R, K) bool: the weights that stay at +-high. A quantizer takes each scale from the largest weight, so
            one of those that share a scale has to stay there, or it would find another scale.
    """

    scale: Any
    high: int
    pinned: Any


def make_grid(weights: Any, high: int, group: int, shrink: Any = None) -> Grid:
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
    # float32 is what artifacts store: high * scale must give the scale back when it is divided by high again.
    scale = scale.to(torch.float32).to(weights.dtype)
    pinned = torch.zeros_like(parts, dtype=torch.bool).scatter_(-1, where[..., None], value=True)
    pinned &= (largest > 0)[..., None]
    return Grid(
        scale=scale[..., None].expand_as(parts).reshape(weights.shape), high=high, pinned=pinned.reshape(weights.shape)
    )


def nearest(target: Any, grid: Grid, signs: Any) -> Any:
    """Returns the nearest integers (G, R, K) float64; pinned ones are at +-high with the sign of `signs`."""
    import torch

    integers = torch.clamp(torch.round(target / grid.scale), -grid.high, grid.high)
    return torch.where(grid.pinned, torch.sign(signs) * grid.high, integers)


def error_of(integers: Any, target: Any, hessian: Any, grid: Grid) -> Any:
    """Returns the squared error of each output, (G, R): (Q - W) H (Q - W)^T."""
    difference = integers * grid.scale - target
    return ((difference @ hessian) * difference).sum(dim=-1)


def round_columns(target: Any, hessian: Any, grid: Grid, signs: Any) -> Any:
    """Returns integers (G, R, K) float64 by GPTQ.

    Args:
        target: (G, R, K) float64: what the weights should be.
        hessian: (G, K, K) float64: E[x x^T] of the layer's inputs.
        grid: Where they may be.
        signs: (G, R, K): the signs of pinned weights.
    """
    import torch

    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    order = diagonal.argsort(dim=-1, descending=True)  # (G, K)
    rows = order[:, None, :].expand_as(target)
    damped = hessian + torch.diag_embed(_damping(diagonal).expand_as(diagonal))
    damped = damped.gather(1, order[:, :, None].expand_as(damped)).gather(2, order[:, None, :].expand_as(damped))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = target.gather(2, rows).clone()
    scale, pinned, ends = (item.gather(2, rows) for item in (grid.scale, grid.pinned, torch.sign(signs) * grid.high))
    integers = torch.empty_like(left)
    for k in range(left.shape[2]):
        chosen = torch.clamp(torch.round(left[:, :, k] / scale[:, :, k]), -grid.high, grid.high)
        chosen = torch.where(pinned[:, :, k], ends[:, :, k], chosen)
        integers[:, :, k] = chosen
        error = (left[:, :, k] - chosen * scale[:, :, k]) / factor[:, k, k, None]
        left[:, :, k + 1 :] -= error[..., None] * factor[:, None, k, k + 1 :]
    return torch.empty_like(integers).scatter_(2, rows, integers)


def descend(integers: Any, target: Any, hessian: Any, grid: Grid, sweeps: int) -> Any:
    """Returns integers whose error is no larger: coordinate descent from `integers`, at most `sweeps` times over all."""
    import torch

    integers = integers.clone()
    gradient = (integers * grid.scale - target) @ hessian
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    curvature = diagonal + _damping(diagonal) * 1e-6 + 1e-30
    for _ in range(sweeps):
        changed = False
        for k in range(integers.shape[2]):
            old, scale = integers[:, :, k], grid.scale[:, :, k]
            best = old - gradient[:, :, k] / (curvature[:, k, None] * scale)
            new = torch.where(grid.pinned[:, :, k], old, torch.clamp(torch.round(best), -grid.high, grid.high))
            step = (new - old) * scale
            if bool(step.any()):
                changed = True
                integers[:, :, k] = new
                gradient += step[..., None] * hessian[:, None, k, :]
        if not changed:
            break
    return integers


def _damping(diagonal: Any) -> Any:
    """Returns (G, 1): what is added to the diagonal so that it can be inverted; never 0."""
    return _DAMPING * diagonal.mean(dim=-1, keepdim=True) + 1e-12
