"""Successive halving: train many for a short time, the better half on, until few are left.

Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016, the
Successive Halving Algorithm (figure 3): every rung gets an equal share of the whole budget, so that the pulls of an arm
double where the number of arms is halved. Two things differ. It ends with several finalists and not with one, because a
Pareto front is wanted; and the better half is that of a nondominated sort (`sorting.select`) and not of one loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

FINALISTS: Final = 4
"""From how many variants on nothing is halved any more: all of them are trained to the end, exported and measured."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder.

    Attributes:
        trials: Variants that are trained.
        epochs: Epochs that each of them has had at its end, those of earlier rungs included.
    """

    trials: int
    epochs: int


def ladder(trials: int, epochs: int) -> tuple[Rung, ...]:
    """Returns the rungs for `trials` variants of which the finalists are trained for `epochs`.

    The epochs that a rung adds double from one to the next: after rung k of R, (2^(k+1) - 1) / (2^R - 1) of all, a
    whole number that grows by 1 at least. So there are never more rungs than epochs.
    """
    sizes = [trials]
    while sizes[-1] > FINALISTS and len(sizes) < epochs:
        sizes.append(math.ceil(sizes[-1] / 2))
    whole = 2 ** len(sizes) - 1
    return tuple(
        Rung(trials=size, epochs=max(k + 1, round(epochs * (2 ** (k + 1) - 1) / whole))) for k, size in enumerate(sizes)
    )
