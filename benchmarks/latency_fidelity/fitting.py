"""Rates for every machine, engine and precision, fitted together.

    latency = sum over terms k of rate_k * amount_k            (edgekit.predict.latency_features counts the amounts)

Rates are positive, so their logarithms are fitted. A device has few rows, an engine has many: a rate's logarithm is
taken as a sum of what is typical for the term, for the engine and precision (with or without dot products), for the
core, for the machine, and what is special to this one combination. Each part is pulled toward 0 with its own strength
(a normal prior), so a combination without rows gets the engine's typical rates at the machine's speed.

The sum of products is not linear in the logarithms; it is solved by Gauss-Newton: near the current rates a relative
change of rate k changes the latency by its share of it, s_k. With normal priors each step is a linear system in as many
unknowns as there are rows (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 2.25 and 2.26),
with the covariance of two rows

    cov(i, j) = sum over parts of [same part] * (spread_rate^2 * s_i . s_j + spread_speed^2)

Rows far from the rest weigh less (Huber weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from machines import core_of, has_dot_products
from numpy.typing import NDArray
from published import Group, Timing, family
from scipy.linalg import cho_factor, cho_solve

from edgekit.predict.latency_features import TERMS, Term

Array = NDArray[np.float64]

_TYPICAL_NS: Final[Mapping[Term, float]] = {
    "dense_macs": 0.1, "dense_3x3_macs": 0.1, "shallow_macs": 0.2, "grouped_macs": 0.3, "pointwise_macs": 0.1,
    "depthwise_macs": 0.4, "linear_macs": 0.15, "attention_macs": 0.15, "recurrent_macs": 0.3, "layer_elements": 0.3,
    "weights": 0.3, "cheap_elements": 0.5, "costly_elements": 3.0, "pooled_elements": 0.4, "moved_elements": 0.5,
    "operators": 1e4,
}  # fmt: skip
"""Nanoseconds for one unit on a core of some 10 GMAC/s: only their ratios matter, and only where no row says better."""


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


SPREADS: Final[Mapping[str, Spread]] = {
    "everything": Spread(rate=0.5, speed=1.0),
    "unit": Spread(rate=0.8, speed=2.0),
    "precision": Spread(rate=0.4, speed=0.3),
    "engine": Spread(rate=0.7, speed=0.5),
    "engine_cores": Spread(rate=0.2, speed=0.1),
    "core": Spread(rate=0.3, speed=1.0),
    "machine": Spread(rate=0.25, speed=0.7),
    "machine_precision": Spread(rate=0.15, speed=0.15),
    "combination": Spread(rate=0.35, speed=0.15),
}
"""By part: see `_labels`. Set by hand on families left out of the fit, so those errors are a little kind."""

NOISE: Final = 0.06
"""Standard deviation of one row around its model: versions, clocks, cooling."""

FAMILY_MISFIT: Final = 0.25
"""What these terms do not tell about a family of models in one engine: all of its rows are off by as much."""

MODEL_MISFIT: Final = 0.08
"""What they do not tell about one model in one engine, beyond its family."""

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

    def __init__(self, timings: Sequence[Timing], work: Mapping[str, Array], start: Fit | None = None) -> None:
        """Fits.

        Args:
            timings: What was published.
            work: Amounts of each model, in the order of TERMS.
            start: A fit to nearly the same timings: fewer steps are needed from there.
        """
        self._groups = tuple(dict.fromkeys(timing.group for timing in timings))
        places = {group: i for i, group in enumerate(self._groups)}
        self._row = np.array([places[timing.group] for timing in timings])
        self._work = np.array([work[timing.model] for timing in timings])
        self._log_ms = np.log([timing.median_ms for timing in timings])
        self._typical = np.log([_TYPICAL_NS[term] for term in TERMS])
        self._rate, self._speed = _covariances(self._groups, self._groups)
        self._misfit = _misfit(timings)
        if start is None:
            rates = np.tile(self._typical, (len(self._groups), 1))
            missing = self._log_ms - np.log(self._work @ np.exp(self._typical) / 1e6)
            rates += np.array([[np.median(missing[self._row == i])] for i in range(len(self._groups))])
        else:
            rates = np.array([start.log_rates(group) for group in self._groups])
        for _ in range(_FIRST_ROUNDS if start is None else _NEXT_ROUNDS):
            rates = self._improve(rates)

    def _improve(self, rates: Array) -> Array:
        """Returns the rates after one Gauss-Newton step with Huber weights."""
        parts = self._work * np.exp(rates[self._row])
        total = parts.sum(axis=1)
        self._shares = parts / total[:, None]
        residual = self._log_ms - np.log(total / 1e6)
        weights = np.minimum(1.0, _OUTLYING * NOISE / np.maximum(np.abs(residual), 1e-9))
        target = residual + np.sum(self._shares * (rates[self._row] - self._typical), axis=1)
        pairs = np.ix_(self._row, self._row)
        covariance = self._rate[pairs] * (self._shares @ self._shares.T) + self._speed[pairs] + self._misfit
        covariance[np.diag_indices_from(covariance)] += NOISE**2 / weights
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._alpha = cho_solve(self._factor, target, check_finite=False)
        rate, speed = self._rate[:, self._row], self._speed[:, self._row]
        new = self._typical + (rate * self._alpha) @ self._shares + (speed @ self._alpha)[:, None]
        return rates + np.clip(new - rates, -_LARGEST_STEP, _LARGEST_STEP)

    def _shared(self, group: Group) -> Array:
        """Returns the covariance of a group's rates with all rows, (terms, rows)."""
        rate, speed = _covariances((group,), self._groups)
        return rate[0, self._row] * self._shares.T + speed[0, self._row]

    def log_rates(self, group: Group) -> Array:
        """Returns the logarithms of a group's rates."""
        return self._typical + self._shared(group) @ self._alpha

    def rates(self, group: Group) -> Rates:
        """Returns a group's rates with their uncertainty."""
        shared = self._shared(group)
        rate, speed = _covariances((group,), (group,))
        prior = rate[0, 0] * np.eye(len(TERMS)) + speed[0, 0]
        return Rates(
            log_ns=self._typical + shared @ self._alpha,
            spread=prior - shared @ cho_solve(self._factor, shared.T, check_finite=False),
            rows=int(np.sum(self._row == self._groups.index(group))) if group in self._groups else 0,
        )


def _misfit(timings: Sequence[Timing]) -> Array:
    """Returns the covariance of what the terms cannot tell, (rows, rows)."""
    engines = np.array([f"{timing.group.engine} {timing.group.precision}" for timing in timings])
    families = np.array([family(timing.model) for timing in timings])
    models = np.array([timing.model for timing in timings])
    same_engine = engines[:, None] == engines[None, :]
    return same_engine * (
        FAMILY_MISFIT**2 * (families[:, None] == families[None, :])
        + MODEL_MISFIT**2 * (models[:, None] == models[None, :])
    )


def _covariances(left: Sequence[Group], right: Sequence[Group]) -> tuple[Array, Array]:
    """Returns what pairs of groups share: variance of each rate by itself, and of the speed, (left, right) each."""
    rate, speed = np.zeros((len(left), len(right))), np.zeros((len(left), len(right)))
    mine, others = [_labels(group) for group in left], [_labels(group) for group in right]
    for part, spread in SPREADS.items():
        same = np.array([m[part] for m in mine])[:, None] == np.array([o[part] for o in others])[None, :]
        rate += spread.rate**2 * same
        speed += spread.speed**2 * same
    return rate, speed
