"""Learns for each weight whether it is rounded up or down, by gradient descent on a layer's output.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020), section 3:

    W~ = s * clip(floor(W / s) + h(V), -n, n)                                       (eq. 22)
    h(V) = clip(sigmoid(V) * (zeta - gamma) + gamma, 0, 1), zeta = 1.1, gamma = -0.1  (eq. 23)
    minimise || f_a(W x) - f_a(W~ x^) ||^2 + lambda * sum 1 - |2 h(V) - 1|^beta       (eq. 24, 25)

x^ is the input with the errors of the layers before, f_a the clamp that follows, beta falls from 20 to 2. Each output's
error is divided by that of its start, and the sum by the number of weights, so that one lambda serves all layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.techniques.gptq import Grid

if TYPE_CHECKING:
    from torch import Tensor

_ZETA: Final = 1.1
_GAMMA: Final = -0.1
_LAMBDA: Final = 10.0
_BETA: Final = (20.0, 2.0)
_WARM: Final = 0.2  # share of the iterations without the regulariser
_RATE: Final = 2e-2
_BATCH: Final = 256  # positions an iteration


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What a layer must reproduce.

    Attributes:
        columns: (G, K, P) float32: inputs with errors, at P positions.
        outputs: (G, R, P) float32: the float model's outputs there, before the clamp.
        bias: (G, R) float32: added to the product.
        clamp: Applied to both outputs before they are compared; None for none.
        anchor: (G, R, K) float32: weights to stay near to where the positions are too few to tell.
        share: (G, 1) float32: how little the positions are trusted, 0 to 1 (`Moments.shrinkage`).
        ridge: (G, 1) float32: error of a unit step of one weight on inputs without any structure.
    """

    columns: Tensor
    outputs: Tensor
    bias: Tensor
    clamp: Callable[[Tensor], Tensor] | None
    anchor: Tensor
    share: Tensor
    ridge: Tensor

    def errors(self, weights: Tensor, positions: slice | Tensor = slice(None)) -> Tensor:
        """Returns the squared error of each output, (G, R): its mean over positions, and the distance to the anchor."""
        made = weights @ self.columns[:, :, positions] + self.bias[:, :, None]
        wanted = self.outputs[:, :, positions]
        if self.clamp is not None:
            made, wanted = self.clamp(made), self.clamp(wanted)
        distance = (weights - self.anchor).square().sum(dim=-1)
        return (1 - self.share) * (made - wanted).square().mean(dim=-1) + self.share * self.ridge * distance


def learn_rounding(
    target: Tensor, start: Tensor, grid: Grid, problem: Reconstruction, iterations: int, seed: int
) -> Tensor:
    """Returns integers (G, R, K) float64, each the floor or the ceiling of `target` / scale.

    Args:
        target: (G, R, K) float64: the weights to round.
        start: (G, R, K) float64: integers whose error sets the scale of the loss, and that pinned weights keep.
        grid: Where the weights may be.
        problem: What to reproduce.
        iterations: Steps of Adam.
        seed: Random seed of the positions that each step looks at.
    """
    import torch

    scale = grid.scale.float()
    low = torch.floor(target / grid.scale).float()
    part = (target / grid.scale).float() - low
    fixed = (start * grid.scale).float()
    unit = problem.errors(fixed).clamp(min=1e-20)
    inside = torch.clamp((part - _GAMMA) / (_ZETA - _GAMMA), 1e-4, 1 - 1e-4)
    free = torch.log(inside / (1 - inside)).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    count = problem.columns.shape[2]
    with torch.enable_grad():
        for step in range(iterations):
            positions = torch.randint(count, (min(_BATCH, count),), generator=generator)
            up = torch.clamp(torch.sigmoid(free) * (_ZETA - _GAMMA) + _GAMMA, 0, 1)
            soft = torch.clamp(low + up, -grid.high, grid.high) * scale
            loss = (problem.errors(torch.where(grid.pinned, fixed, soft), positions) / unit).mean()
            beta = _annealed(step / iterations)
            if beta is not None:
                loss = loss + _LAMBDA * (1 - (2 * up - 1).abs().pow(beta)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    chosen = torch.clamp(low.double() + (free.detach() >= 0).double(), -grid.high, grid.high)
    return torch.where(grid.pinned, start, chosen)


def _annealed(share: float) -> float | None:
    """Returns beta after a share of the iterations, None while the regulariser is off."""
    if share < _WARM:
        return None
    cosine = 0.5 * (1 + math.cos((share - _WARM) / (1 - _WARM) * math.pi))
    return _BETA[1] + (_BETA[0] - _BETA[1]) * cosine
