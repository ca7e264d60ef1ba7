"""How well the fit predicts models that it has not seen: one family, or one model, is left out at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from fitting import Array, Fit
from published import Group, Timing, family

BAND_QUANTILE: Final = 1.645
"""Standard deviations within which 90 % of a normal distribution lie."""


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
    full: Fit,
    *,
    key: Callable[[str], str] = family,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[HeldOut]:
    """Yields a prediction for every timing, from a fit to the models that have another `key`."""
    for name in sorted({key(timing.model) for timing in timings}):
        report(name)
        rest = [timing for timing in timings if key(timing.model) != name]
        fit = Fit(rest, work, start=full)
        rates = {}
        for timing in timings:
            if key(timing.model) != name:
                continue
            if timing.group not in rates:
                rates[timing.group] = fit.rates(timing.group)
            mine = rates[timing.group]
            amounts = work[timing.model]
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


def coverage(found: Sequence[HeldOut], model_sigma: float) -> float:
    """Returns the share of rows inside the 90 % band."""
    inside = [np.abs(i.log_errors()) <= BAND_QUANTILE * np.hypot(i.sigma, model_sigma) for i in found]
    return float(np.mean(np.concatenate(inside)))
