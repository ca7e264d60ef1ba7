"""Rates for every machine, engine and precision, fitted together.

    latency = sum over terms k of rate_k * amount_k            (edgekit.predict.latency_features counts the amounts)

Rates are positive, so their logarithms are fitted. A device has few rows, an engine has many: a rate's logarithm is
taken as a sum of what is typical for the term, for the engine and precision (with or without dot products), for the
core, for the machine, and what is special to this one combination, around what the machine's peak rate lets expect.
Each part is pulled toward 0 with its own strength
(a normal prior), so a combination without rows gets the engine's typical rates at the machine's speed.

The sum of products is not linear in the logarithms; it is solved by Gauss-Newton: near the current rates a relative
change of rate k changes the latency by its share of it, s_k. With normal priors each step is a linear system in as many
unknowns as there are rows (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 2.25 and 2.26),
with the covariance of two rows

    cov(i, j) = sum over parts of [same part] * (spread_rate^2 * s_i . C s_j + spread_speed^2)

where C is what the rates of two terms share: terms that wait for memory vary together, and so do those that compute.
Rows far from the rest weigh less (Huber weights).

How strongly each part is held (`Prior`) was found by `tuning.py` on families and devices left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from machines import core_of, has_dot_products, peak_gmacs
from numpy.typing import NDArray
from published import Group, Timing, family
from scipy.linalg import cho_factor, cho_solve

from edgekit.predict.latency_features import TERMS, Term
from edgekit.predict.latency_refit import Doubt

Array = NDArray[np.float64]

TYPICAL_NS: Final[Mapping[Term, float]] = {
    "dense_macs": 0.1, "dense_3x3_macs": 0.1, "shallow_macs": 0.2, "grouped_macs": 0.3, "pointwise_macs": 0.1,
    "depthwise_macs": 0.4, "linear_macs": 0.15, "attention_macs": 0.15, "recurrent_macs": 0.3, "layer_elements": 0.3,
    "weights": 0.3, "linear_weights": 0.3, "positions": 5.0,
    "cheap_elements": 0.5, "costly_elements": 3.0, "pooled_elements": 0.4, "moved_elements": 0.5,
    "operators": 1e4,
}  # fmt: skip
"""Nanoseconds for one unit on a core of some 10 GMAC/s: only their ratios matter, and only where no row says better."""

_TYPICAL_GMACS: Final = 10.0
_TYPICAL_ACCELERATOR_GMACS: Final = 1500.0
"""What an accelerator can compute at best where it runs at these rates: much of its time it waits."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much one part of a rate varies: standard deviations of logarithms.

    Attributes:
        rate: Rate of each term by itself.
        speed: Speed of all terms together.
    """

    rate: float
    speed: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed before any row is read: standard deviations of natural logarithms.

    Attributes:
        spreads: How much each part of a rate varies, by part: see `_labels`.
        noise: Of one row around its model: versions, clocks, cooling.
        family: What the terms do not tell about a family of models in one engine: all of its rows are off by as much.
        model: What they do not tell about one model in one engine, beyond its family.
        widths: By kind of term (compute, memory, start): what the parts' rates are multiplied by.
        alike: Share of a rate's variance that it has in common with the other terms of its kind.
    """

    spreads: Mapping[str, Spread]
    noise: float
    family: float
    model: float
    widths: tuple[float, float, float]
    alike: float

    def terms(self) -> Array:
        """Returns what the rates of two terms share, (terms, terms), for a spread of 1."""
        width = np.array([self.widths[_KINDS[term]] for term in TERMS])
        kinds = np.array([_KINDS[term] for term in TERMS])
        same = kinds[:, None] == kinds[None, :]
        return np.outer(width, width) * ((1 - self.alike) * np.eye(len(TERMS)) + self.alike * same)


_COMPUTE, _MEMORY, _START = 0, 1, 2
_KINDS: Final[Mapping[Term, int]] = {
    term: _COMPUTE if term.endswith("_macs") else _START if term == "operators" else _MEMORY for term in TERMS
}
"""Term to what it waits for: multipliers, memory, or threads that meet."""

PRIOR: Final = Prior(
    spreads={
        "everything": Spread(rate=0.5, speed=1),
        "unit": Spread(rate=0.2, speed=1),
        "precision": Spread(rate=0.87, speed=0.77),
        "engine": Spread(rate=0.95, speed=0.5),
        "engine_cores": Spread(rate=0.32, speed=0.16),
        "core": Spread(rate=0.19, speed=0.3),
        "machine": Spread(rate=0.072, speed=0.4),
        "machine_precision": Spread(rate=0.61, speed=0.069),
        "combination": Spread(rate=0.66, speed=0.18),
    },
    noise=0.075,
    family=0.024,
    model=0.014,
    widths=(1.8, 1.5, 0.17),
    alike=0.6,
)
"""Found on 8 folds of families and 6 of devices: the mean of |e| / (|e| + 0.1) of log errors, plus half their size."""

LEAST_DOUBT: Final = 0.02
"""No rate is known better."""

_OUTLYING: Final = 2.5
"""Rows so many standard deviations off weigh less."""
_LARGEST_STEP: Final = 0.7
_FIRST_ROUNDS: Final = 12
_NEXT_ROUNDS: Final = 4

_ACCELERATORS: Final = ("tensorrt", "coreml", "qnn")


def _labels(group: Group) -> dict[str, str]:
    """Returns what a group shares with others, by part."""
    unit = group.engine if group.engine in _ACCELERATORS else "cpu"
    engine = f"{group.engine} {group.precision}"
    core = core_of(group.device) if unit == "cpu" else f"{unit} {core_of(group.device)}"
    machine = f"{unit} {group.machine}"
    return {
        "everything": "",
        "unit": unit,
        "precision": f"{unit} {group.precision}",
        "engine": engine,
        "engine_cores": f"{engine} {has_dot_products(group.device)} {group.threads > 1}",
        "core": f"{core} {group.threads}",
        "machine": machine,
        "machine_precision": f"{machine} {group.precision}",
        "combination": f"{machine} {engine}",
    }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """One group's rates.

    Attributes:
        log_ns: (terms,) Natural logarithms of nanoseconds for one unit.
        spread: (terms, terms) Covariance of these.
        rows: Models of this group that were fitted.
    """

    log_ns: Array
    spread: Array
    rows: int

    def predict_ms(self, work: Array) -> float:
        """Returns the latency of a model with these amounts."""
        return float(np.exp(self.log_ns) @ work / 1e6)

    def log_sigma(self, work: Array) -> float:
        """Returns the standard deviation of the logarithm of that latency, from the rates' own uncertainty."""
        parts = np.exp(self.log_ns) * work
        share = parts / parts.sum()
        return float(np.sqrt(max(0.0, share @ self.spread @ share)))


@final
class Fit:
    """All rates that a set of timings speaks for, and any other group by what it shares with them."""

    def __init__(
        self,
        timings: Sequence[Timing],
        work: Mapping[str, Array],
        start: Fit | None = None,
        *,
        prior: Prior = PRIOR,
        rounds: int | None = None,
    ) -> None:
        """Fits.

        Args:
            timings: What was published.
            work: Amounts of each model, in the order of TERMS.
            start: A fit to nearly the same timings: fewer steps are needed from there.
            prior: What is believed before.
            rounds: Gauss-Newton steps; None for enough of them.
        """
        self._prior, self._alike = prior, prior.terms()
        self._groups = tuple(dict.fromkeys(timing.group for timing in timings))
        places = {group: i for i, group in enumerate(self._groups)}
        self._row = np.array([places[timing.group] for timing in timings])
        self._work = np.array([work[timing.model] for timing in timings])
        self._log_ms = np.log([timing.median_ms for timing in timings])
        self._expected = np.array([_expected(group) for group in self._groups])
        self._rate, self._speed = _covariances(self._groups, self._groups, prior)
        self._misfit = _misfit(timings, prior)
        rates = self._expected if start is None else np.array([start.log_rates(group) for group in self._groups])
        for _ in range(rounds or (_FIRST_ROUNDS if start is None else _NEXT_ROUNDS)):
            rates = self._improve(rates)

    def _improve(self, rates: Array) -> Array:
        """Returns the rates after one Gauss-Newton step with Huber weights."""
        parts = self._work * np.exp(rates[self._row])
        total = parts.sum(axis=1)
        self._shares = parts / total[:, None]
        self._spread_shares = self._shares @ self._alike
        residual = self._log_ms - np.log(total / 1e6)
        weights = np.minimum(1.0, _OUTLYING * self._prior.noise / np.maximum(np.abs(residual), 1e-9))
        target = residual + np.sum(self._shares * (rates - self._expected)[self._row], axis=1)
        pairs = np.ix_(self._row, self._row)
        covariance = self._rate[pairs] * (self._spread_shares @ self._shares.T) + self._speed[pairs] + self._misfit
        covariance[np.diag_indices_from(covariance)] += self._prior.noise**2 / weights
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._alpha = cho_solve(self._factor, target, check_finite=False)
        rate, speed = self._rate[:, self._row], self._speed[:, self._row]
        new = self._expected + (rate * self._alpha) @ self._spread_shares + (speed @ self._alpha)[:, None]
        return rates + np.clip(new - rates, -_LARGEST_STEP, _LARGEST_STEP)

    def _shared(self, group: Group) -> Array:
        """Returns the covariance of a group's rates with all rows, (terms, rows)."""
        rate, speed = _covariances((group,), self._groups, self._prior)
        return rate[0, self._row] * self._spread_shares.T + speed[0, self._row]

    def log_rates(self, group: Group) -> Array:
        """Returns the logarithms of a group's rates."""
        return _expected(group) + self._shared(group) @ self._alpha

    def rates(self, group: Group) -> Rates:
        """Returns a group's rates with their uncertainty."""
        shared = self._shared(group)
        rate, speed = _covariances((group,), (group,), self._prior)
        prior = rate[0, 0] * self._alike + speed[0, 0]
        return Rates(
            log_ns=_expected(group) + shared @ self._alpha,
            spread=prior - shared @ cho_solve(self._factor, shared.T, check_finite=False),
            rows=int(np.sum(self._row == self._groups.index(group))) if group in self._groups else 0,
        )


def _expected(group: Group) -> Array:
    """Returns the logarithms of the rates that a group is expected to have: typical ones at its machine's peak."""
    reference = _TYPICAL_GMACS if group.engine not in _ACCELERATORS else _TYPICAL_ACCELERATOR_GMACS
    peak = peak_gmacs(group) or reference
    return np.log([TYPICAL_NS[term] for term in TERMS]) - np.log(peak / reference)


def _misfit(timings: Sequence[Timing], prior: Prior) -> Array:
    """Returns the covariance of what the terms cannot tell, (rows, rows)."""
    engines = np.array([f"{timing.group.engine} {timing.group.precision}" for timing in timings])
    families = np.array([family(timing.model) for timing in timings])
    models = np.array([timing.model for timing in timings])
    same_engine = engines[:, None] == engines[None, :]
    return same_engine * (
        prior.family**2 * (families[:, None] == families[None, :])
        + prior.model**2 * (models[:, None] == models[None, :])
    )


def _covariances(left: Sequence[Group], right: Sequence[Group], prior: Prior) -> tuple[Array, Array]:
    """Returns what pairs of groups share: variance of each rate by itself, and of the speed, (left, right) each."""
    rate, speed = np.zeros((len(left), len(right))), np.zeros((len(left), len(right)))
    mine, others = [_labels(group) for group in left], [_labels(group) for group in right]
    for part, spread in prior.spreads.items():
        same = np.array([m[part] for m in mine])[:, None] == np.array([o[part] for o in others])[None, :]
        rate += spread.rate**2 * same
        speed += spread.speed**2 * same
    return rate, speed


def doubt_from(spread: Array) -> Doubt:
    """Returns what a covariance of log rates says of a factor that all share and of one for each term.

    The mean of what two terms share is the common part; what a term varies beyond it is its own.
    """
    count = len(spread)
    shared = max(0.0, float((spread.sum() - np.trace(spread)) / (count * (count - 1))))
    own = np.sqrt(np.maximum(np.diag(spread) - shared, LEAST_DOUBT**2))
    terms = {term: float(value) for term, value in zip(TERMS, own, strict=True)}
    return Doubt(common=shared**0.5, other=float(own.max()), terms=terms)
