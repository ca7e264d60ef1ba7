"""Low-rank products: the best one of a rank, the error of every rank, and which rank each layer gets.

For a layer y = W x with H = E[x x^T] = L L^T, a product A B of rank r errs by E |(W - A B) x|^2 = |(W - A B) L|_F^2.
That is least for the truncated singular value decomposition W L = U S V^T (Eckart & Young 1936):

    A = U_r S_r^(1/2),   B = S_r^(1/2) V_r^T L^-1

as in Wang et al., "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression", 2024,
section 3.1 (theorem 1); Yuan et al., "ASVD", 2023, take a diagonal L. L = I is the plain decomposition of the weights.
The error of rank r is the sum of the squares of the singular values that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from torch import Tensor

_STEPS: Final = 60  # of the search for the price of a weight
_ROUNDING: Final = 1e-12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """What each rank of one layer costs.

    Attributes:
        outputs: Rows of the weight.
        inputs: Columns of the weight.
        squares: Squares of the singular values of W L, falling, (min(outputs, inputs),) as numbers.
    """

    outputs: int
    inputs: int
    squares: tuple[float, ...]

    def weights(self, rank: int | None) -> int:
        """Returns how many weights a product of this rank has; the dense layer for None."""
        return self.outputs * self.inputs if rank is None else rank * (self.outputs + self.inputs)

    @property
    def largest_rank(self) -> int:
        """The largest rank at which the product is smaller than the layer."""
        return (self.outputs * self.inputs - 1) // (self.outputs + self.inputs)

    def lost(self, rank: int | None) -> float:
        """Returns the share of the output's energy that a rank leaves out."""
        return 0.0 if rank is None else sum(self.squares[rank:]) / max(1e-30, sum(self.squares))


def spectrum(weight: Tensor, hessian: Tensor) -> Spectrum:
    """Returns the spectrum of a weight (R, K) float64 on inputs with second moments `hessian` (K, K)."""
    import torch

    values = torch.linalg.svdvals(weight @ torch.linalg.cholesky(hessian))
    return Spectrum(
        outputs=int(weight.shape[0]), inputs=int(weight.shape[1]), squares=tuple(float(v) ** 2 for v in values)
    )


def factors(weight: Tensor, hessian: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Returns A (R, rank) and B (rank, K), float64, whose product errs least on inputs of second moments `hessian`."""
    import torch

    lower = torch.linalg.cholesky(hessian)
    left, values, right = torch.linalg.svd(weight @ lower, full_matrices=False)
    root = values[:rank].sqrt()
    # Half of each singular value on either side, so that both factors have like ranges for a quantizer.
    reduced = torch.linalg.solve_triangular(lower, right[:rank], upper=False, left=False)
    return left[:, :rank] * root, root[:, None] * reduced


def rank_by_energy(found: Spectrum, energy: float) -> int | None:
    """Returns the least rank that keeps this share of the output's energy, None where the layer would grow."""
    for rank in range(1, found.largest_rank + 1):
        if found.lost(rank) <= 1 - energy + _ROUNDING:
            return rank
    return None


def rank_by_share(found: Spectrum, keep: float) -> int | None:
    """Returns the rank whose product has this share of the layer's weights, None for less than 1."""
    rank = min(found.largest_rank, int(keep * found.outputs * found.inputs / (found.outputs + found.inputs)))
    return rank if rank >= 1 else None


def share_ranks(spectra: Mapping[str, Spectrum], weights: Mapping[str, float], keep: float) -> dict[str, int | None]:
    """Returns ranks that lose least in sum and leave `keep` of all weights; None leaves a layer dense.

    Minimises sum_l weight_l * lost_l(rank_l) + price * weights_l(rank_l) for each layer by itself; the price of a
    weight is found by bisection (Everett, "Generalized Lagrange Multiplier Method", 1963).

    Args:
        spectra: By layer.
        weights: What the loss of all of a layer's energy is worth.
        keep: Share of the layers' weights that may stay.
    """
    limit = keep * sum(item.weights(None) for item in spectra.values())
    low, high = 0.0, max(weights.values()) + 1.0  # at one unit of loss a weight, every layer has rank 1
    chosen = {name: _cheapest(item, weights[name], high) for name, item in spectra.items()}
    for _ in range(_STEPS):
        price = (low + high) / 2
        tried = {name: _cheapest(item, weights[name], price) for name, item in spectra.items()}
        if sum(spectra[name].weights(rank) for name, rank in tried.items()) <= limit:
            chosen, high = tried, price
        else:
            low = price
    return chosen


def _cheapest(item: Spectrum, worth: float, price: float) -> int | None:
    options: list[int | None] = [None, *range(1, item.largest_rank + 1)]
    total = max(1e-30, sum(item.squares))
    lost: dict[int | None, float] = {None: 0.0}
    left = sum(item.squares)
    for rank in range(1, item.largest_rank + 1):
        left -= item.squares[rank - 1]
        lost[rank] = max(0.0, left) / total
    return min(options, key=lambda rank: worth * lost[rank] + price * item.weights(rank))
