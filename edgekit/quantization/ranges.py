"""Which range of an activation its integer grid must cover, from streaming statistics.

Three methods, all after H. Wu et al., "Integer Quantization for Deep Learning Inference: Principles and Empirical
Evaluation" (2020), section 4.1, and R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference"
(2018), section 3:

minmax       everything that was seen. Nothing is clipped; one outlier widens the step of all values.
percentile   the 99.999 % of values nearest to the middle; ties TensorRT's and onnxruntime's default.
mse          the thresholds that minimise the expected squared error: rounding inside plus clipping outside
             (Banner, Nahshan, Soudry, "Post training 4-bit quantization", 2019, eq. 2 to 4, with the measured
             histogram in place of a Laplace density).

Every range includes 0, which padding and ReLU need to be exact. Where only an activation reads the tensor, the range
ends where that is flat (see `activation_ranges`), whatever the method. The range of what the model is fed is widened
by less than a step until both of its ends are whole steps from 0: pixels that were scaled to -1..1 lie two 255ths
apart, and on a grid of just that step, with 0 on it, every single one of them would lie half a step off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.activation_inputs import Activation
from edgekit.model import LearnedRange
from edgekit.quantization.activation_ranges import distinct_range
from edgekit.quantization.statistics import TensorStatistics
from edgekit.recipe import RangeMethod

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERCENTILE: Final = 99.999
"""Per cent of the values that the percentile method keeps."""

_STEPS: Final = 255
"""Steps of a grid of 8 bits."""

_WHOLE: Final = 1e-4
"""Part of a step by which an end may miss a whole one."""

_GRID: Final = 128  # thresholds tried on each side of zero

_SAME: Final = 1e-4
"""Share of a tensor's width: how far its extremes and mean may differ between two runtimes' float kernels."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The real values that an integer grid covers: low <= 0 <= high."""

    low: float
    high: float

    def symmetric(self) -> Range:
        """Returns the smallest range around this one whose middle is 0."""
        bound = max(-self.low, self.high)
        return Range(low=-bound, high=bound)

    def read_by(self, activation: Activation | None) -> Range:
        """Returns the part of this range that an activation tells apart; all of it where None reads it."""
        if activation is None:
            return self
        low, high = distinct_range(self.low, self.high, activation)
        return Range(low=low, high=high)

    def on_whole_steps(self) -> Range:
        """Returns the smallest range around this one both of whose ends are whole steps of 8 bits from 0.

        With n of 255 steps below 0, the step is s = max(-low / n, high / (255 - n)) and the range -n s to (255 - n) s;
        n is one of the two numbers around the one that would be exact.
        """
        if self.low >= 0 or self.high <= 0:
            return self
        exact = -self.low / (self.high - self.low) * _STEPS
        if abs(exact - round(exact)) < _WHOLE:
            return self
        numbers = [n for n in (math.floor(exact), math.ceil(exact)) if 0 < n < _STEPS]
        step, below = min((max(-self.low / n, self.high / (_STEPS - n)), n) for n in numbers)
        return Range(low=-below * step, high=(_STEPS - below) * step)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """An integer grid: real = scale * (stored - zero_point)."""

    scale: float
    zero_point: int


def choose_range(
    statistics: TensorStatistics,
    method: RangeMethod,
    *,
    symmetric: bool = False,
    learned: Sequence[LearnedRange] = (),
    activation: Activation | None = None,
    fed: bool = False,
) -> Range:
    """Returns the range of one tensor.

    Args:
        statistics: Statistics of all its values on calibration data.
        method: See the module.
        symmetric: The grid has its zero point at 0, so the range is [-a, a].
        learned: Ranges that training has found; where one is this tensor's, it takes the method's place.
        activation: The activation that reads the tensor, where nothing else does.
        fed: The tensor is an input of the model.
    """
    if statistics.count == 0:
        return Range(low=0.0, high=0.0)
    known = _find_learned(statistics, learned)
    if known is not None:
        return known.symmetric() if symmetric else known
    if method == "minmax":
        found = minmax_range(statistics)
    elif method == "percentile":
        found = percentile_range(statistics)
    else:
        found = mse_range(statistics, symmetric=symmetric)
    found = found.read_by(activation)
    if symmetric:
        return found.symmetric()
    return found.on_whole_steps() if fed else found


def _find_learned(statistics: TensorStatistics, learned: Sequence[LearnedRange]) -> Range | None:
    """Returns the learned range of the tensor that has these extremes and this mean, up to rounding of float sums."""
    limit = _SAME * max(statistics.maximum - statistics.minimum, 1e-30)
    for item in learned:
        pairs = (
            (item.minimum, statistics.minimum),
            (item.maximum, statistics.maximum),
            (item.mean, statistics.mean),
        )
        if all(abs(one - other) <= limit for one, other in pairs):
            return Range(low=item.low, high=item.high)
    return None


def minmax_range(statistics: TensorStatistics) -> Range:
    """Returns the range of everything that was seen, widened to include 0."""
    return Range(low=min(statistics.minimum, 0.0), high=max(statistics.maximum, 0.0))


def percentile_range(statistics: TensorStatistics, percent: float = PERCENTILE) -> Range:
    """Returns the range that leaves (100 - percent) / 2 per cent of the values out on each side.

    The quantile is interpolated linearly inside its histogram bin; the range never exceeds what was seen.
    """
    counts, edges = statistics.histogram()
    tail = (100.0 - percent) / 200.0 * statistics.count
    low, high = _tail_end(counts, edges, tail), -_tail_end(counts[::-1], -edges[::-1], tail)
    full = minmax_range(statistics)
    return Range(low=max(full.low, min(low, 0.0)), high=min(full.high, max(high, 0.0)))


def mse_range(statistics: TensorStatistics, levels: int = 256, *, symmetric: bool = False) -> Range:
    """Returns the range with the least expected squared error on a grid of `levels` integers.

    For the range [l, h] with step d = (h - l) / (levels - 1) the error is modelled as

        E = d^2 / 12 * P(l < x < h, x != 0) + sum over x < l of p(x) (l - x)^2 + sum over x > h of p(x) (x - h)^2

    Zero is on every grid, so values that are exactly 0 (after a ReLU) have no rounding error. All pairs of 128 lower
    and 128 upper thresholds are tried; a symmetric grid has 128 candidates and one integer less.
    """
    import numpy as np

    full = minmax_range(statistics)
    if full.low == full.high:
        return full
    counts, edges = statistics.histogram()
    centres = np.clip((edges[:-1] + edges[1:]) / 2, statistics.minimum, statistics.maximum)
    steps = np.arange(1, _GRID + 1) / _GRID
    if symmetric:
        bounds = steps * max(-full.low, full.high)
        inside, below, above = _errors(centres, counts, -bounds, bounds)
        rounding = (2 * bounds / (levels - 2)) ** 2 / 12
        total = rounding * np.maximum(inside.diagonal() - statistics.zeros, 0) + below + above
        best = float(bounds[int(total.argmin())])
        return Range(low=-best, high=best)
    lows = steps * full.low if full.low < 0 else np.zeros(1)
    highs = steps * full.high if full.high > 0 else np.zeros(1)
    inside, below, above = _errors(centres, counts, lows, highs)
    rounding = ((highs[None, :] - lows[:, None]) / (levels - 1)) ** 2 / 12
    total = rounding * np.maximum(inside - statistics.zeros, 0) + below[:, None] + above[None, :]
    i, j = np.unravel_index(int(total.argmin()), total.shape)
    return Range(low=float(lows[i]), high=float(highs[j]))


def affine_grid(found: Range, low: int, high: int) -> Grid:
    """Returns the grid that maps `found` onto the integers low..high, with 0 exact.

    scale = (found.high - found.low) / (high - low), zero point = round(low - found.low / scale)
    (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018,
    eq. 1 and 13).
    """
    width = found.high - found.low
    if width <= 0:
        return Grid(scale=1.0, zero_point=max(low, min(high, 0)))
    scale = width / (high - low)
    return Grid(scale=scale, zero_point=max(low, min(high, round(low - found.low / scale))))


def symmetric_grid(found: Range, high: int) -> Grid:
    """Returns the grid with zero point 0 that maps the larger side of `found` onto `high`."""
    bound = max(-found.low, found.high)
    return Grid(scale=bound / high if bound > 0 else 1.0, zero_point=0)


def _tail_end(counts: NDArray[np.int64], edges: NDArray[np.float64], tail: float) -> float:
    """Returns where `tail` values lie below: inside a bin that is not empty, so a gap before an outlier stays whole."""
    import numpy as np

    below = np.cumsum(counts)
    k = int(np.searchsorted(below, tail, "left"))
    share = (tail - (below[k] - counts[k])) / counts[k]
    return float(edges[k] + share * (edges[k + 1] - edges[k]))


def _errors(
    centres: NDArray[np.float64], counts: NDArray[np.int64], lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns (values inside each pair (lows, highs), clipping error below each low, above each high), not normalised.

    Sums of 1, x and x^2 over all bins on one side of a threshold t give sum (x - t)^2 = S2 - 2 t S1 + t^2 S0 at once.
    """
    import numpy as np

    weights = counts.astype(np.float64)
    sums = np.stack([weights, weights * centres, weights * centres * centres])
    before = np.concatenate([np.zeros((3, 1)), np.cumsum(sums, axis=1)], axis=1)
    low_cut, high_cut = np.searchsorted(centres, lows, "left"), np.searchsorted(centres, highs, "right")
    below = before[:, low_cut]
    above = before[:, -1:] - before[:, high_cut]
    clipped_below = below[2] - 2 * lows * below[1] + lows**2 * below[0]
    clipped_above = above[2] - 2 * highs * above[1] + highs**2 * above[0]
    inside = weights.sum() - below[0][:, None] - above[0][None, :]
    return inside, np.maximum(clipped_below, 0.0), np.maximum(clipped_above, 0.0)
