"""Confidence intervals for what two models did on the same data, honest at small counts and at no difference at all.

An interval that shrinks to nothing because no difference was seen would call 20 identical answers proof. Each method
here keeps its width there, except where nothing random is left.

Sources:
    Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.
    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design",
        Statistics in Medicine 17. Agresti and Min 2005 (ibid. 24) and Fagerland, Lydersen and Laake 2014 (ibid. 33)
        compare it with the simpler ones: Wald with 0.5 added to each cell is too narrow when all differences go one
        way, and Newcombe's has no width where the two answers never differ.
    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 14 (BCa).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE: Final = 0.95

JACKKNIFE_GROUPS: Final = 100
"""The bootstrap's acceleration is found by leaving out one of at most this many groups; it varies slowly with them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """Returns the interval of the quantity times a positive factor."""
        return Interval(low=self.low * factor, high=self.high * factor)


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Returns z with P(-z < Z < z) = confidence for a standard normal Z."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))


def wilson_interval(successes: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns the interval of a proportion of which `successes` of `count` were seen (Wilson 1927).

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Without any data it is 0 to 1.
    """
    if count == 0:
        return Interval(low=0.0, high=1.0)
    z2 = normal_quantile(confidence) ** 2
    share = successes / count
    centre = share + z2 / (2 * count)
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count * count)))
    scale = 1 + z2 / count
    # At the ends the formula is exact (0 and 1) but for rounding.
    low = 0.0 if successes == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if successes == count else min(1.0, (centre + half) / scale)
    return Interval(low=low, high=high)


def paired_difference_interval(
    only_first: int, only_second: int, count: int, confidence: float = CONFIDENCE
) -> Interval:
    """Returns the interval of p(first) - p(second) for two yes/no answers on the same items (Tango's score interval).

    The limits are the differences d at which the score statistic
        T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d)))
    equals z and -z. Here b and c count the items where only the first and only the second said yes, and q, the
    probability of c under d, is the root (-B + sqrt(B^2 - 4AC)) / 2A with A = 2n, B = (2n - b + c) d - b - c, C = -c
    d (1 - d). Where b = c = 0 the limits are -+ z^2 / (n + z^2).

    Args:
        only_first: Items where only the first answer is yes (b).
        only_second: Items where only the second answer is yes (c).
        count: All items (n), those where both answers agree included.
        confidence: Confidence of the interval.
    """
    from scipy.optimize import brentq

    if count == 0:
        return Interval(low=-1.0, high=1.0)
    z = normal_quantile(confidence)
    b, c, n = only_first, only_second, count

    def statistic(difference: float) -> float:
        linear = (2 * n - b + c) * difference - b - c
        constant = -c * difference * (1 - difference)
        q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
        variance = n * (2 * q + difference * (1 - difference))
        distance = b - c - n * difference
        return (
            distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0
        )

    edge = 1 - 1e-12
    seen = min(max((b - c) / n, -edge), edge)

    def solve(target: float, end: float) -> float:
        # The statistic falls with the difference and is 0 at the one that was seen.
        if (statistic(end) - target) * (statistic(seen) - target) > 0:
            return end
        # A statistic of infinity at the end would stop the search: any value beyond the target has the same sign.
        root: Any = brentq(lambda d: max(-1e9, min(1e9, statistic(d) - target)), min(end, seen), max(end, seen))
        return float(root)

    low, high = solve(z, -edge), solve(-z, edge)
    return Interval(low=-1.0 if low <= -edge else low, high=1.0 if high >= edge else high)


def smallest_paired_difference(only_second: int, count: int, confidence: float = CONFIDENCE) -> float | None:
    """Returns the smallest p(first) - p(second) that `count` items can tell from none, None where no difference can.

    Args:
        only_second: Items where only the second says yes: the noise that a difference has to stand out from.
        count: All items.
        confidence: Confidence of the interval that must exclude 0.
    """
    low, high = only_second, count - only_second
    if high <= low or paired_difference_interval(high, only_second, count, confidence).low <= 0:
        return None
    while high - low > 1:  # the interval's lower end grows with the count, so halving finds the first that exceeds 0
        middle = (low + high) // 2
        if paired_difference_interval(middle, only_second, count, confidence).low > 0:
            high = middle
        else:
            low = middle
    return (high - only_second) / count


def mean_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Returns the interval of the mean of `values` (n,) by Student's t; without limits for fewer than two values."""
    import numpy as np
    from scipy.special import stdtrit

    count = len(values)
    if count < 2:
        return Interval(low=-math.inf, high=math.inf)
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return Interval(low=mean - half, high=mean + half)


def median_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Returns the interval of the median of `values` (n,) between two order statistics; it assumes no distribution.

    The number of values below the median is binomial(n, 1/2), so the k-th smallest and the k-th largest enclose it with
    probability 1 - 2 P(X < k). Without limits where n is too small for the confidence (under 6 at 95 %).
    """
    import numpy as np
    from scipy.special import bdtr

    count = len(values)
    ordered = np.sort(values)
    k = 0
    while k < count // 2 and 2 * float(bdtr(k, count, 0.5)) <= 1 - confidence:
        k += 1
    if k == 0:
        return Interval(low=-math.inf, high=math.inf)
    return Interval(low=float(ordered[k - 1]), high=float(ordered[count - k]))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    count: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    centred: bool = False,
) -> Interval:
    """Returns the bias-corrected and accelerated (BCa) bootstrap interval of a statistic of `count` items.

    Args:
        statistic: Gets item indices (m,), with repetitions, and returns the figure over them.
        count: Number of items.
        resamples: Number of bootstrap samples.
        seed: Random seed of the resampling: the same seed gives the same interval.
        confidence: Confidence of the interval.
        centred: The resamples are moved so that their median is what was seen, and their quantiles taken: for a figure
            that repeated items raise by themselves, such as the envelope of average precision. BCa takes such a shift
            for the estimate's own bias, and its interval may then leave out what was seen.

    Returns:
        (-inf, inf) where the figure is not finite on some resample, or for fewer than two items.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    unknown = Interval(low=-math.inf, high=math.inf)
    if count < 2:
        return unknown
    everything = np.arange(count)
    seen = statistic(everything)
    if not math.isfinite(seen):
        return unknown
    generator = np.random.default_rng(seed)
    draws = np.asarray([statistic(generator.integers(0, count, count)) for _ in range(resamples)])
    if not np.isfinite(draws).all():
        return unknown
    if np.ptp(draws) == 0:
        return Interval(low=float(draws[0]), high=float(draws[0]))
    if centred:
        outside = (1 - confidence) / 2
        low, high = seen + np.quantile(draws - np.median(draws), [outside, 1 - outside])
        return Interval(low=float(low), high=float(high))
    # z0: the bias, how much of the distribution lies below what was seen; ties count half (eq. 14.14).
    share = float(np.mean(draws < seen) + np.mean(draws == seen) / 2)
    bias = float(ndtri(min(max(share, 0.5 / resamples), 1 - 0.5 / resamples)))
    acceleration = _acceleration(statistic, everything)
    z = normal_quantile(confidence)
    levels = [ndtr(bias + (bias + side) / (1 - acceleration * (bias + side))) for side in (-z, z)]  # eq. 14.10
    low, high = np.quantile(draws, levels)
    return Interval(low=float(low), high=float(high))


def _acceleration(statistic: Callable[[NDArray[np.int64]], float], everything: NDArray[np.int64]) -> float:
    """Returns BCa's acceleration from a jackknife over groups (eq. 14.15), 0 where it cannot be computed."""
    import numpy as np

    groups: Any = np.array_split(everything, min(len(everything), JACKKNIFE_GROUPS))
    left_out = np.asarray([statistic(np.setdiff1d(everything, group)) for group in groups])
    if not np.isfinite(left_out).all():
        return 0.0
    deviation = np.mean(left_out) - left_out
    squares = float(np.sum(deviation**2))
    return float(np.sum(deviation**3)) / (6 * squares**1.5) if squares > 0 else 0.0


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Returns Spearman's rank correlation, ties with their mean rank; NaN where either side is constant."""
    import numpy as np
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    product = math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
    return float(np.sum(a * b)) / product if product > 0 else math.nan
