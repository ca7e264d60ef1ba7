"""Searches the scales of a layer's input channels with which its narrow weights lose least.

Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", 2023, section 3.2: the
weights that read large activations matter most, and a factor s > 1 on such a column makes its rounding error s times
smaller, as long as the group's largest weight stays:

    Q(W diag(s)) (diag(s)^-1 X),   s = mean |X|^a,   a* = argmin || Q(W diag(s)) diag(s)^-1 X - W X ||     (eq. 4, 5)

The norm is taken on the covariance of X, so a trial needs no data: || D X ||^2 = tr D Cov[x] D^T; the mean is left to
the bias. All layers that read one value share its factors and their errors are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgekit.techniques.gptq import INT4_HIGH, INT8_HIGH, make_grid, nearest

if TYPE_CHECKING:
    from torch import Tensor

EXPONENTS: Final = tuple(step / 20 for step in range(20))


def best_factors(weights: Sequence[Tensor], reach: Tensor, second: Tensor, bits: int, group: int) -> Tensor:
    """Returns the factors of the input channels, (K,) float64 with geometric mean 1.

    Args:
        weights: Weights of each layer that reads the value, (R, K) float64.
        reach: Mean absolute value of each channel, (K,) float64.
        second: Cov[x], (K, K) float64.
        bits: Bits of a weight, 8 or 4.
        group: Columns that share a scale; 0 for one scale per output.
    """
    best, least = reach, None
    for exponent in EXPONENTS:
        factors = channel_factors(reach, exponent)
        error = sum(float(rounding_error(weight, factors, second, bits, group)) for weight in weights)
        if least is None or error < least:
            best, least = factors, error
    return best


def channel_factors(reach: Tensor, exponent: float) -> Tensor:
    """Returns mean |X|^exponent with geometric mean 1; a channel that is always 0 counts as the weakest one."""
    alive = reach > 0
    if not bool(alive.any()):
        return reach.new_ones(reach.shape)
    logs = reach.where(alive, reach[alive].min()).log() * exponent
    return (logs - logs.mean()).exp()


def rounding_error(weight: Tensor, factors: Tensor, second: Tensor, bits: int, group: int) -> Tensor:
    """Returns the mean squared error of a layer's outputs with rounded weights: tr D Cov[x] D^T."""
    scaled = (weight * factors)[None]
    grid = make_grid(scaled, INT4_HIGH if bits == 4 else INT8_HIGH, group or int(weight.shape[1]))
    difference = (nearest(scaled, grid, scaled) * grid.scale)[0] / factors - weight
    return ((difference @ second) * difference).sum()
