"""Which weights of a layer stay, and what they become so that its output changes least.

Weights are (G, R, K) as in `layer_columns`: G problems of R outputs and K = channels * taps columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

_ITERATIONS: Final = 30
_CONVERGED: Final = 1e-4  # of the first residual, in the norm of the preconditioner


def largest(scores: Tensor, share: float) -> Tensor:
    """Returns a bool mask of the same shape: all but the `share` of smallest scores. Ties go by position."""
    import torch

    flat = scores.flatten()
    mask = torch.ones(flat.numel(), dtype=torch.bool)
    mask[flat.argsort(stable=True)[: int(flat.numel() * share)]] = False
    return mask.reshape(scores.shape)


def largest_of_row(scores: Tensor, share: float) -> Tensor:
    """Returns a bool mask (..., K): of each row, all but the `share` of smallest scores."""
    import torch

    dropped = int(scores.shape[-1] * share)
    order = scores.argsort(dim=-1, stable=True)[..., :dropped]
    return torch.ones_like(scores, dtype=torch.bool).scatter_(-1, order, value=False)


def largest_of_block(scores: Tensor, kept: int, block: int, taps: int) -> Tensor:
    """Returns a bool mask (G, R, K): `kept` of each `block` input channels that follow each other, at every tap.

    Args:
        scores: (G, R, channels * taps), channels slowest.
        kept: N of N:M.
        block: M of N:M; divides the channels.
        taps: Positions of the kernel.
    """
    import torch

    shaped = scores.reshape(*scores.shape[:2], -1, block, taps)
    order = shaped.argsort(dim=3, descending=True, stable=True)[:, :, :, :kept]
    mask = torch.zeros_like(shaped, dtype=torch.bool).scatter_(3, order, value=True)
    return mask.reshape(scores.shape)


def refit(target: Tensor, mask: Tensor, hessian: Tensor) -> Tensor:
    """Returns the weights (G, R, K) on `mask` that minimise tr (Q - W) H (Q - W)^T, all others 0.

    Each row is a least squares problem on the columns that it kept: (M H M) q = M H w. All rows are solved at once by
    conjugate gradients with the diagonal as preconditioner (Saad, "Iterative Methods for Sparse Linear Systems", 2003,
    algorithm 9.1), since no two rows have the same columns.

    Args:
        target: (G, R, K) float64: what the weights should be.
        mask: (G, R, K) bool: which may differ from 0.
        hessian: (G, K, K) float64, positive definite.
    """
    import torch

    diagonal = hessian.diagonal(dim1=1, dim2=2)[:, None, :]
    found = target * mask
    residual = ((target - found) @ hessian) * mask
    scaled = residual / diagonal
    direction = scaled.clone()
    power = (residual * scaled).sum(dim=-1, keepdim=True)
    enough = power * _CONVERGED**2
    for _ in range(_ITERATIONS):
        if bool((power <= enough).all()):
            break
        curved = (direction @ hessian) * mask
        step = _ratio(power, (direction * curved).sum(dim=-1, keepdim=True))
        found += step * direction
        residual -= step * curved
        scaled = residual / diagonal
        after = (residual * scaled).sum(dim=-1, keepdim=True)
        direction = scaled + _ratio(after, power) * direction
        power = after
    return torch.where(mask, found, torch.zeros_like(found))


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Returns the quotient, 0 where a row has nothing left to gain."""
    import torch

    return torch.where(below > 0, above / torch.where(below > 0, below, torch.ones_like(below)), 0.0)
