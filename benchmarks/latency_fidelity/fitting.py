"""Rates for every machine, engine and precision, fitted together.

    latency = sum over terms k of rate_k * amount_k            (edgekit.predict.latency_features counts the amounts)

Rates are positive, so their logarithms are fitted. A device has few rows, an engine has many, so what groups share is
a normal prior (`prior.py`): with C what the rates of two terms share, R what two groups share of each rate and S of
their speed, the logarithms have the covariance R x C + S x 1.

The sum of products is not linear in the logarithms; the maximum a posteriori is found by Gauss-Newton: near the current
rates a relative change of rate k changes the latency by its share of it, s_k. Each step is a linear system in as many
unknowns as there are rows (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. 2.25 and 2.26),
with the covariance of two rows

    cov(i, j) = R_ij * (s_i . C s_j) + S_ij + what families and models share beyond the terms

The rates are R Z C + S Z 1 with one row of Z for each group, so a step may be taken in part without leaving what the
prior allows: it is halved until the posterior grows (a full step overshoots where priors are wide). Rows far from the
rest weigh less (Huber weights). A fit starts from nothing: one that starts from a fit to more rows would remember them.

How strongly each part is held (`strengths.json`) was set by hand from what `tuning.py` had found for an older form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from prior import Array, Prior, covariances, expected_log_rates, unit_of
from published import Group, Timing, family
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from edgekit.predict.latency_features import TERMS
from edgekit.predict.latency_refit import Doubt

PRIOR: Final = Prior.of(json.loads((Path(__file__).parent / "strengths.json").read_text(encoding="utf-8")))
"""How strongly each part is held: set by hand; `tuning.py --write` searches for it."""

LENDERS: Final = ("ncnn", "qnn")
"""Engines of no profile: their rows tell how fast machines are beside each other, and nothing of other kernels."""

_LENT_NOISE: Final = 0.15
"""Standard deviation of the logarithm of one of their rows, around what other engines' rates could tell."""

LEAST_DOUBT: Final = 0.02
"""No rate is known better."""

_OUTLYING: Final = 2.5
"""Rows so many standard deviations off weigh less."""
_ROUNDS: Final = 16
_STEPS: Final = (1.0, 0.5, 0.25, 0.1, 0.04)
_SETTLED: Final = 2e-3
"""The search ends where a step gains less than this part of what is minimised."""


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
        self, timings: Sequence[Timing], work: Mapping[str, Array], *, prior: Prior = PRIOR, rounds: int = _ROUNDS
    ) -> None:
        """Fits.

        Args:
            timings: What was published.
            work: Amounts of each model, in the order of TERMS.
            prior: What is believed before.
            rounds: Gauss-Newton steps at most.
        """
        self._prior, self._alike = prior, prior.terms()
        self._groups = tuple(dict.fromkeys(timing.group for timing in timings))
        places = {group: i for i, group in enumerate(self._groups)}
        self._row = np.array([places[timing.group] for timing in timings])
        self._of_group = (np.arange(len(self._groups))[:, None] == self._row[None, :]).astype(np.float64)
        self._work = np.array([work[timing.model] for timing in timings]) / 1e6
        self._log_ms = np.log([timing.median_ms for timing in timings])
        lent = np.array([timing.group.engine in LENDERS for timing in timings])
        self._noise = np.where(lent, _LENT_NOISE, prior.noise)
        self._expected = np.array([expected_log_rates(group) for group in self._groups])
        self._rate, self._speed = covariances(self._groups, self._groups, prior)
        self._misfit = _misfit(timings, prior)
        pairs = np.ix_(self._row, self._row)
        self._row_rate, self._row_rest = self._rate[pairs], self._speed[pairs] + self._misfit
        self._dual = np.zeros((len(self._groups), len(TERMS)))
        self._row_dual = np.zeros(len(timings))
        for _ in range(rounds):
            if self._improve() < _SETTLED:
                break

    def _improve(self) -> float:
        """Takes one Gauss-Newton step; returns by which part it lowered what is minimised."""
        change, misfit = self._deviation(self._dual), self._misfit @ self._row_dual
        row_dual, shares = self._solve(change, misfit)
        dual = self._of_group @ (shares * row_dual[:, None])
        new_change, new_misfit = self._deviation(dual), self._misfit @ row_dual
        old = np.sum(self._dual * change) + self._row_dual @ misfit
        mixed = np.sum(self._dual * new_change) + self._row_dual @ new_misfit
        new = np.sum(dual * new_change) + row_dual @ new_misfit
        before = self._minimised(change, misfit, old)
        least, taken = before, 0.0
        for step in _STEPS:
            size = (1 - step) ** 2 * old + 2 * step * (1 - step) * mixed + step**2 * new
            found = self._minimised(
                change + step * (new_change - change), misfit + step * (new_misfit - misfit), float(size)
            )
            if found < least:
                least, taken = found, step
            elif taken:
                break
        self._dual = self._dual + taken * (dual - self._dual)
        self._row_dual = self._row_dual + taken * (row_dual - self._row_dual)
        return (before - least) / max(1.0, before)

    def _solve(self, change: Array, misfit: Array) -> tuple[Array, Array]:
        """Returns what each row pulls with near these rates, (rows,), and the share of each term, (rows, terms)."""
        parts = self._work * np.exp(self._expected + change)[self._row]
        total = parts.sum(axis=1)
        shares = parts / total[:, None]
        residual = self._log_ms - np.log(total)
        self._factor = cho_factor(
            self._covariance(shares, residual - misfit), lower=True, overwrite_a=True, check_finite=False
        )
        self._shares = shares
        target = residual + np.sum(shares * change[self._row], axis=1)
        return cho_solve(self._factor, target, check_finite=False), shares

    def _covariance(self, shares: Array, off: Array) -> Array:
        """Returns the covariance of all rows near the rates with these shares, (rows, rows)."""
        weights = np.minimum(1.0, _OUTLYING * self._noise / np.maximum(np.abs(off), 1e-9))
        found: Array = self._row_rate * (shares @ self._alike @ shares.T)
        found += self._row_rest
        found[np.diag_indices_from(found)] += self._noise**2 / weights
        return found

    def _deviation(self, dual: Array) -> Array:
        """Returns by how much the logarithms of all groups' rates differ from what is expected, (groups, terms)."""
        found: Array = self._rate @ dual @ self._alike + (self._speed @ dual.sum(axis=1))[:, None]
        return found

    def _minimised(self, change: Array, misfit: Array, size: float) -> float:
        """Returns the negative logarithm of the posterior, but for a constant."""
        total = np.sum(self._work * np.exp(self._expected + change)[self._row], axis=1)
        off = np.abs(self._log_ms - np.log(total) - misfit) / self._noise
        huber = np.where(off > _OUTLYING, 2 * _OUTLYING * off - _OUTLYING**2, off**2)
        return float(huber.sum() + size) / 2

    def log_rates(self, group: Group) -> Array:
        """Returns the logarithms of a group's rates."""
        rate, speed = covariances((group,), self._groups, self._prior)
        found: Array = (
            expected_log_rates(group) + rate[0] @ self._dual @ self._alike + speed[0] @ self._dual.sum(axis=1)
        )
        return found

    @cached_property
    def _settled(self) -> None:
        """Makes the linear system anew at the rates that were found."""
        self._solve(self._deviation(self._dual), self._misfit @ self._row_dual)

    def rates(self, group: Group) -> Rates:
        """Returns a group's rates with their uncertainty."""
        _ = self._settled
        rate, speed = covariances((group,), self._groups, self._prior)
        shared = rate[0, self._row] * (self._shares @ self._alike).T + speed[0, self._row]
        own_rate, own_speed = covariances((group,), (group,), self._prior)
        known = solve_triangular(self._factor[0], shared.T, lower=True, check_finite=False)
        before = own_rate[0, 0] * self._alike + own_speed[0, 0]
        return Rates(
            log_ns=self.log_rates(group),
            spread=before - known.T @ known,
            rows=int(np.sum(self._row == self._groups.index(group))) if group in self._groups else 0,
        )


def _misfit(timings: Sequence[Timing], prior: Prior) -> Array:
    """Returns the covariance of what the terms cannot tell, (rows, rows)."""
    engines = _same([f"{timing.group.engine} {timing.group.precision}" for timing in timings])
    machines = engines & _same([f"{unit_of(timing.group)} {timing.group.machine}" for timing in timings])
    families, models = _same([family(timing.model) for timing in timings]), _same([timing.model for timing in timings])
    found: Array = (
        prior.family**2 * (engines & families)
        + prior.model**2 * (engines & models)
        + prior.family_here**2 * (machines & families)
        + prior.model_here**2 * (machines & models)
    )
    return found


def _same(names: Sequence[str]) -> NDArray[np.bool_]:
    _, labels = np.unique(names, return_inverse=True)
    return labels[:, None] == labels[None, :]


def doubt_from(spread: Array) -> Doubt:
    """Returns what a covariance of log rates says of a factor that all share and of one for each term.

    The mean of what two terms share is the common part; what a term varies beyond it is its own.
    """
    count = len(spread)
    shared = max(0.0, float((spread.sum() - np.trace(spread)) / (count * (count - 1))))
    own = np.sqrt(np.maximum(np.diag(spread) - shared, LEAST_DOUBT**2))
    terms = {term: float(value) for term, value in zip(TERMS, own, strict=True)}
    return Doubt(common=shared**0.5, other=float(own.max()), terms=terms)
