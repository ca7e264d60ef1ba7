"""Which models to measure on a device, so that its latency model learns the most from each.

What is not known about a device's rates is a normal prior on the logarithm of a factor that all kinds share and
of one for each kind (`latency_refit.Doubt`). Near the present rates a model whose work of kind k takes the share s_k of
its time speaks of the sum  t0 + sum_k s_k t_k, with an error of its own. Measuring it changes the variance of what
every other model takes by a rank-one update that does not depend on the value that will be measured (Rasmussen and
Williams, "Gaussian Processes for Machine Learning", 2006, eq. 2.26), so an order can be found before anything was
measured: each step takes the model that leaves the smallest mean variance over all of them (Seo et al., "Gaussian
Process Regression: Active Data Selection and Test Point Rejection", 2000; a greedy A-optimal design).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from edgekit.predict.latency_refit import MISFIT, Doubt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could be measured.

    Attributes:
        name: For people.
        parts_ms: Kind of work to its predicted milliseconds.
    """

    name: str
    parts_ms: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The next model to measure.

    Attributes:
        name: The candidate's.
        spread: Root mean square over all candidates of the standard deviation that the logarithm of a latency has once
            this one and all before it were measured.
    """

    name: str
    spread: float


def propose(
    candidates: Sequence[Candidate], doubt: Doubt, count: int, *, measured: Sequence[Candidate] = ()
) -> tuple[Proposal, ...]:
    """Returns up to `count` candidates in the order in which they should be measured.

    Args:
        candidates: What could be measured, and what the rates will be used for.
        doubt: What is not known about the rates.
        count: How many.
        measured: What was measured before.
    """
    import numpy as np

    everything = [*candidates, *measured]
    terms = sorted({term for one in everything for term in one.parts_ms})
    parts = np.asarray([[one.parts_ms.get(term, 0.0) for term in terms] for one in everything])
    shares = parts / parts.sum(axis=1, keepdims=True)
    own = np.asarray([doubt.of(term) for term in terms])
    covariance = doubt.common**2 + (shares * own**2) @ shares.T
    for i in range(len(candidates), len(everything)):
        covariance = _measured(covariance, i)
    left = list(range(len(candidates)))
    wanted = slice(0, len(candidates))
    found: list[Proposal] = []
    while left and len(found) < count:
        gains = [float(np.sum(covariance[wanted, i] ** 2) / (covariance[i, i] + MISFIT**2)) for i in left]
        chosen = left.pop(int(np.argmax(gains)))
        covariance = _measured(covariance, chosen)
        spread = math.sqrt(max(0.0, float(np.mean(np.diag(covariance)[wanted]))))
        found.append(Proposal(name=candidates[chosen].name, spread=spread))
    return tuple(found)


def _measured(covariance: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    """Returns the covariance of the logarithms of all latencies once model `i` was measured."""
    row = covariance[i]
    left: NDArray[np.float64] = covariance - row[:, None] * row[None, :] / (row[i] + MISFIT**2)
    return left
