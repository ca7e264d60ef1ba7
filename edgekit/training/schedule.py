"""How long and how fast training goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

Optimizer = Literal["sgd", "adamw"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast training goes.

    Attributes:
        epochs: Passes over the training data.
        learning_rate: The highest one.
        optimizer: `sgd` (with Nesterov's momentum) or `adamw`.
        momentum: Momentum of SGD.
        weight_decay: On weights with two axes or more; never on biases, norms and ranges.
        warmup: Share of all steps in which the rate rises from 0.
        largest_gradient: Norm to which longer gradients are cut; a graph without batch norms needs it.
        relative: Each tensor's rate is multiplied by the root mean square of its values at the start (Shazeer & Stern,
            "Adafactor", 2018, section 8). For `adamw`, whose steps have one size: in a graph whose batch norms were
            folded, weights differ by orders of magnitude.
    """

    epochs: int
    learning_rate: float
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    largest_gradient: float = 5.0
    relative: bool = False

    def rate_at(self, share: float) -> float:
        """Returns the learning rate after a share (0 to 1) of all steps.

        Linear warm-up, then half a cosine down to 0: r / 2 * (1 + cos(pi * t)) (Loshchilov & Hutter, "SGDR: Stochastic
        Gradient Descent with Warm Restarts", 2017, eq. 5 without restarts; warm-up as in Goyal et al., 2017, 2.2).
        """
        if share < self.warmup:
            return self.learning_rate * share / self.warmup
        done = (share - self.warmup) / max(1e-9, 1 - self.warmup)
        return self.learning_rate / 2 * (1 + math.cos(math.pi * min(1.0, done)))
