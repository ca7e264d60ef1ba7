"""Learns for each weight whether it is rounded up or down, by gradient descent on the output of a layer or a block.

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
from dataclasses import dataclass, replace
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
_LARGEST_START: Final = 0.45  # a soft weight starts on the side of its integer
_LOOKS: Final = 25  # iterations between two looks at whether all weights have decided


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

    def errors(self, weights: Tensor) -> Tensor:
        """Returns the squared error of each output, (G, R): its mean over positions, and the distance to the anchor."""
        made = self.clamped(weights @ self.columns + self.bias[:, :, None])
        distance = (weights - self.anchor).square().sum(dim=-1)
        lost = (made - self.clamped(self.outputs)).square().mean(dim=-1)
        return (1 - self.share) * lost + self.share * self.ridge * distance

    def clamped(self, values: Tensor) -> Tensor:
        """Returns outputs after the clamp."""
        return values if self.clamp is None else self.clamp(values)

    def gradient(self, weights: Tensor, positions: slice, unit: Tensor) -> Tensor:
        """Returns the gradient (G, R, K) of the mean of `errors` / `unit`, looked at in some positions.

        A clamp lets through what it leaves as it is: its derivative is 1 there, and 0 elsewhere.
        """
        columns = self.columns[:, :, positions]
        made = weights @ columns + self.bias[:, :, None]
        clamped = self.clamped(made)
        lost = (clamped - self.clamped(self.outputs[:, :, positions])).mul_(clamped == made)
        factor = 2 / (unit * unit.numel())
        fit = lost.mul_(((1 - self.share) * factor / columns.shape[2])[:, :, None]) @ columns.transpose(1, 2)
        return fit.add_((weights - self.anchor).mul_((self.share * self.ridge * factor)[:, :, None]))


def learn_rounding(
    target: Tensor, start: Tensor, grid: Grid, problem: Reconstruction, iterations: int, seed: int
) -> Tensor:
    """Returns integers (G, R, K) float64, each the floor or the ceiling of `target` / scale.

    The gradient is written out, and the positions are shuffled once and then looked at slice by slice: with autograd
    and a choice of positions in each step, depthwise layers took 9 us a weight and step.

    Args:
        target: (G, R, K) float64: the weights to round.
        start: (G, R, K) float64: integers whose error sets the scale of the loss, and that pinned weights keep.
        grid: Where the weights may be.
        problem: What to reproduce.
        iterations: Steps of Adam; fewer where all weights have decided before.
        seed: Random seed of the order of positions.
    """
    import torch

    scale = grid.scale.float()
    low = torch.floor(target / grid.scale).float()
    part = (target / grid.scale).float() - low
    fixed = (start * grid.scale).float()
    unit = problem.errors(fixed).clamp(min=1e-20)
    inside = torch.clamp((part - _GAMMA) / (_ZETA - _GAMMA), 1e-4, 1 - 1e-4)
    free = torch.log(inside / (1 - inside))
    optimizer = torch.optim.Adam([free], lr=_RATE, fused=True)
    count = problem.columns.shape[2]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    problem = replace(problem, columns=problem.columns[:, :, order], outputs=problem.outputs[:, :, order])
    size = min(_BATCH, count)
    for step in range(iterations):
        first = step * size % (count - size + 1)
        chance = torch.sigmoid(free)
        stretched = chance * (_ZETA - _GAMMA) + _GAMMA
        up = stretched.clamp(0, 1)
        levels = low + up
        moves = (levels.abs() <= grid.high) & ~grid.pinned
        soft = torch.where(grid.pinned, fixed, levels.clamp_(-grid.high, grid.high).mul_(scale))
        gradient = problem.gradient(soft, slice(first, first + size), unit).mul_(scale).mul_(moves)
        beta = annealed(step / iterations)
        if beta is not None:
            gradient.add_(_regularising(up, beta))
            if step % _LOOKS == 0 and bool(((up == 0) | (up == 1) | grid.pinned).all()):
                break
        free.grad = gradient.mul_(chance.mul_(1 - chance)).mul_(_ZETA - _GAMMA).mul_(stretched == up)
        optimizer.step()
    chosen = torch.clamp(low.double() + (free >= 0).double(), -grid.high, grid.high)
    return torch.where(grid.pinned, start, chosen)


@final
class SoftRounding:
    """A layer's weights between two integers each, for gradient descent through what lies behind the layer.

    Every weight may keep its integer or take the neighbour on the side of its target. It starts nearer to its integer,
    so that what is decided at the start is the start.

    Args:
        grid: Where the weights may be.
        start: (G, R, K) float64: integers to start from, which pinned weights keep.
        target: (G, R, K) float64: what the weights should be.
        shape: Shape of the layer's weight.
    """

    def __init__(self, grid: Grid, start: Tensor, target: Tensor, shape: tuple[int, ...]) -> None:
        import torch

        away = target / grid.scale - start
        below = (away < 0).double()
        part = torch.clamp(away.abs(), max=_LARGEST_START)
        up = torch.where(below > 0, 1 - part, part)
        inside = torch.clamp((up - _GAMMA) / (_ZETA - _GAMMA), 1e-4, 1 - 1e-4)
        self._grid, self._shape, self._start = grid, shape, start
        self._low = (start - below).float()
        self._start_weights = (start * grid.scale).float()
        self.free: Tensor = torch.log(inside / (1 - inside)).float().requires_grad_()

    def soft(self) -> Tensor:
        """Returns the weights where the descent is, float32 in the layer's shape, with a gradient."""
        import torch

        found = (self._low + self._up()).clamp(-self._grid.high, self._grid.high) * self._grid.scale.float()
        return torch.where(self._grid.pinned, self._start_weights, found).reshape(self._shape)

    def hard(self) -> Tensor:
        """Returns the weights on their grid, each at the integer that it is nearer to; float32, without a gradient."""
        chosen = (self._low + (self.free.detach() >= 0)).clamp(-self._grid.high, self._grid.high)
        # In float64, as the grid is: a product of float32 would be off the grid by its last bit.
        exact = self._start.where(self._grid.pinned, chosen.double()) * self._grid.scale
        return exact.float().reshape(self._shape)

    def undecided(self, beta: float) -> Tensor:
        """Returns the regulariser, mean(1 - |2 h - 1|^beta)."""
        return 1 - (2 * self._up() - 1).abs().pow(beta).mean()

    def _up(self) -> Tensor:
        import torch

        return (torch.sigmoid(self.free) * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)


def _regularising(up: Tensor, beta: float) -> Tensor:
    """Returns the gradient of lambda * mean(1 - |2 h - 1|^beta) by h."""
    import torch

    distance = 2 * up - 1
    return distance.abs().pow_(beta - 1).mul_(torch.sign(distance)).mul_(-2 * _LAMBDA * beta / up.numel())


def annealed(share: float) -> float | None:
    """Returns beta after a share of the iterations, None while the regulariser is off."""
    if share < _WARM:
        return None
    cosine = 0.5 * (1 + math.cos((share - _WARM) / (1 - _WARM) * math.pi))
    return _BETA[1] + (_BETA[0] - _BETA[1]) * cosine
