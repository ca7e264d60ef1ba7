"""How well the fit predicts models that it has not seen: one family, or one model, is left out at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from fitting import LENDERS, PRIOR, Fit
from prior import Array, Prior
from published import Group, Timing, family

BAND_QUANTILE: Final = 1.645
"""Standard deviations within which 90 % of a normal distribution lie."""


UNEXPLAINED: Final = 0.1
"""Standard deviation of the logarithm of a latency around what perfect rates would give: kernels differ by shape."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One prediction of a model that was left out.

    Attributes:
        timing: What was published.
        predicted_ms: What was predicted.
        sigma: Standard deviation of its logarithm from the rates alone.
    """

    timing: Timing
    predicted_ms: float
    sigma: float

    @property
    def group(self) -> Group:
        """Where."""
        return self.timing.group

    def errors(self) -> Array:
        """Returns predicted / published - 1 for each row."""
        return self.predicted_ms / np.array(self.timing.values_ms) - 1

    def log_errors(self) -> Array:
        """Returns log(published / predicted) for each row."""
        return np.log(np.array(self.timing.values_ms) / self.predicted_ms)


def leave_out(
    timings: Sequence[Timing],
    work: Mapping[str, Array],
    *,
    key: Callable[[str], str] = family,
    only: Container[str] | None = None,
    prior: Prior = PRIOR,
) -> Iterator[HeldOut]:
    """Yields a prediction for every timing, from a fit to the models that have another `key`.

    Args:
        timings: What was published.
        work: Amounts of each model.
        key: What is left out together.
        only: Keys to judge; None for all.
        prior: What is believed before.
    """
    for name in sorted({key(timing.model) for timing in timings}):
        if only is None or name in only:
            held = [timing for timing in timings if key(timing.model) == name]
            yield from _predict(held, timings, work, prior)


def _predict(
    held: Sequence[Timing], timings: Sequence[Timing], work: Mapping[str, Array], prior: Prior
) -> Iterator[HeldOut]:
    """Yields a prediction for each of `held` from a fit to the other timings."""
    left_out = {id(timing) for timing in held}
    fit = Fit([timing for timing in timings if id(timing) not in left_out], work, prior=prior)
    rates = {group: fit.rates(group) for group in {timing.group for timing in held}}
    for timing in held:
        mine, amounts = rates[timing.group], work[timing.model]
        yield HeldOut(timing=timing, predicted_ms=mine.predict_ms(amounts), sigma=mine.log_sigma(amounts))


def summarise(found: Sequence[HeldOut]) -> dict[str, float]:
    """Returns the measures of a set of predictions, over rows."""
    errors = np.abs(np.concatenate([item.errors() for item in found]))
    return {
        "models": len({item.timing.model for item in found}),
        "rows": len(errors),
        "median": float(np.median(errors)),
        "within_10": float(np.mean(errors <= 0.10)),
        "within_20": float(np.mean(errors <= 0.20)),
    }


def leave_out_pairs(timings: Sequence[Timing], work: Mapping[str, Array]) -> Iterator[HeldOut]:
    """Yields a prediction for every timing from a fit without any row of its device in its engine.

    That is what a profile gets for a runtime in which nothing was published about its device. Engines of no profile are
    not judged.
    """
    pairs = {(timing.group.device, timing.group.engine) for timing in timings if timing.group.engine not in LENDERS}
    for pair in sorted(pairs):
        held = [timing for timing in timings if (timing.group.device, timing.group.engine) == pair]
        yield from _predict(held, timings, work, PRIOR)


def own_spread(sigma: float) -> float:
    """Returns what a fit knows of its own error: that of the rates, and what no rates tell."""
    return float(np.hypot(sigma, UNEXPLAINED))


def spread_scale(found: Sequence[HeldOut]) -> float:
    """Returns by what the fit's own spread is multiplied so that 90 % of these rows lie in the band."""
    ratios = [np.abs(item.log_errors()) / own_spread(item.sigma) for item in found]
    return float(np.quantile(np.concatenate(ratios), 0.9)) / BAND_QUANTILE
