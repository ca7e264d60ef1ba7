"""Refits a latency model's rates on a user's own measurements, with the rates that were there as the prior.

A latency is a sum of parts, one for each kind of work. Each part k of a model i is multiplied by exp(t0 + tk): t0 is
what all kinds of work share (clock, memory, build of the runtime), tk what is special to one. The factors are the
maximum a posteriori estimate under normal priors on t0 and tk and a normal error of the logarithm of each latency,

    minimise  sum_i w_i ((ln(sum_k exp(t0 + tk) parts_ik) - ln measured_i) / misfit)^2
              + (t0 / s0)^2 + sum_k (tk / sk)^2

where s0 and sk are the profile's own doubt, which the fit over all published devices leaves about this one: rates
that were known well move little, those that were scaled from another device move far. A table without it has its
spread as s0 and half of that as each sk. The weights w_i are Huber's (1964), found again after each of a few rounds,
so that one broken measurement does not decide. Few measurements can thus be used: what they do not tell stays as it
was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MISFIT: Final = 0.1
"""Standard deviation of the logarithm of a latency that perfect rates would leave: kernels differ by shape."""

FEWEST_TO_LEAVE_ONE_OUT: Final = 3

_HUBER: Final = 1.345
"""In standard deviations: 95 % efficient where errors are normal."""

_ROUNDS: Final = 5
_PRIOR_COUNT: Final = 5
"""How many measurements the profile's own spread counts as."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """How far the rates of a latency model may be off: standard deviations of natural logarithms.

    Attributes:
        common: Of a factor that all kinds of work share.
        other: Of the factor of one kind of work that `terms` does not name.
        terms: Kind of work to that of its own factor.
    """

    common: float
    other: float
    terms: Mapping[str, float] = field(default_factory=dict[str, float])

    def of(self, term: str) -> float:
        """Returns the standard deviation of the factor of one kind of work."""
        return self.terms.get(term, self.other)


def doubt_of(table: Mapping[str, Any]) -> Doubt:
    """Returns the doubt of a profile's table `[latency_model.<runtime>.<precision>]`."""
    known: Mapping[str, float] | None = table.get("doubt")
    spread: float = table["spread"]
    if not known:
        return Doubt(common=spread, other=spread / 2)
    terms = {term: value for term, value in known.items() if term != "common"}
    return Doubt(common=known["common"], other=max(terms.values(), default=spread / 2), terms=terms)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured model, and what the rates say about it.

    Attributes:
        name: For people.
        parts_ms: Kind of work to its predicted milliseconds.
        fixed_ms: Predicted milliseconds of work that runs at other rates, which are not refitted.
        measured_ms: The latency that was measured.
    """

    name: str
    parts_ms: Mapping[str, float]
    fixed_ms: float = 0.0
    measured_ms: float

    def predicted_ms(self, factors: Mapping[str, float] | None = None) -> float:
        """Returns the prediction with each kind of work multiplied by its factor (1 where it has none)."""
        factors = factors or {}
        return self.fixed_ms + sum(part * factors.get(term, 1.0) for term, part in self.parts_ms.items())


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """New rates, and how much better they are.

    Attributes:
        common: What the rate of work that no measured model had is multiplied by.
        factors: Kind of work to what its rate is multiplied by.
        spread: New standard deviation of the logarithm of measured / predicted.
        error_before: Median relative error of the old rates.
        error_after: That of the new rates, on the measurements that they were fitted on.
        error_left_out: That of rates fitted without the model in question; None for fewer than three measurements.
    """

    common: float
    factors: Mapping[str, float]
    spread: float
    error_before: float
    error_after: float
    error_left_out: float | None


def refit(observations: Sequence[Observation], spread: float, doubt: Doubt | None = None) -> Refit:
    """Returns the refitted rates of one (runtime, precision).

    Args:
        observations: At least one.
        spread: The profile's standard deviation of the logarithm of measured / predicted.
        doubt: What the rates may be off by; None for what the spread says.
    """
    doubt = doubt or doubt_of({"spread": spread})
    common, factors = _fit(observations, doubt, spread)
    left_out: float | None = None
    new_spread = spread
    if len(observations) >= FEWEST_TO_LEAVE_ONE_OUT:
        logs: list[float] = []
        for i, observation in enumerate(observations):
            others = [*observations[:i], *observations[i + 1 :]]
            other_common, other_factors = _fit(others, doubt, spread)
            known = dict.fromkeys(observation.parts_ms, other_common) | other_factors
            logs.append(_log_error(observation, known))
        left_out = _median_error(logs)
        squares = sum(log * log for log in logs)
        new_spread = math.sqrt((_PRIOR_COUNT * spread**2 + squares) / (_PRIOR_COUNT + len(logs)))
    return Refit(
        common=common,
        factors=factors,
        spread=new_spread,
        error_before=_median_error([_log_error(observation, {}) for observation in observations]),
        error_after=_median_error([_log_error(observation, factors) for observation in observations]),
        error_left_out=left_out,
    )


def _fit(observations: Sequence[Observation], doubt: Doubt, spread: float) -> tuple[float, dict[str, float]]:
    """Returns exp(t0), and exp(t0 + tk) by kind of work."""
    import numpy as np
    from scipy.optimize import least_squares

    terms = sorted({term for observation in observations for term in observation.parts_ms})
    parts = np.asarray([[observation.parts_ms.get(term, 0.0) for term in terms] for observation in observations])
    fixed = np.asarray([observation.fixed_ms for observation in observations])
    measured = np.log([observation.measured_ms for observation in observations])
    weights = np.ones(len(observations))
    prior = np.asarray([doubt.common, *(doubt.of(term) for term in terms)])
    solution = np.zeros(len(terms) + 1)

    def errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
        predicted = fixed + parts @ np.exp(values[0] + values[1:])
        found: NDArray[np.float64] = (np.log(predicted) - measured) / MISFIT
        return found

    for _ in range(_ROUNDS):
        root = np.sqrt(weights)

        def residuals(values: NDArray[np.float64], root: NDArray[np.float64] = root) -> NDArray[np.float64]:
            return np.concatenate([root * errors(values), values / prior])

        found: Any = least_squares(residuals, solution)
        solution = np.asarray(found.x, dtype=np.float64)
        # Errors within what the prior still allows are no outliers: the limit is in units of both.
        limit = _HUBER * math.hypot(MISFIT, spread) / MISFIT
        weights = np.minimum(1.0, limit / np.maximum(np.abs(errors(solution)), 1e-12))
    factors = {term: float(math.exp(solution[0] + solution[i + 1])) for i, term in enumerate(terms)}
    return float(math.exp(solution[0])), factors


def _log_error(observation: Observation, factors: Mapping[str, float]) -> float:
    return math.log(observation.predicted_ms(factors) / observation.measured_ms)


def _median_error(logs: Sequence[float]) -> float:
    """Returns the median of |predicted / measured - 1|."""
    errors = sorted(abs(math.expm1(log)) for log in logs)
    middle = len(errors) // 2
    return errors[middle] if len(errors) % 2 else (errors[middle - 1] + errors[middle]) / 2
