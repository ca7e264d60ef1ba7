"""How far the next row's values may lie beyond everything that a few calibration rows showed.

Minimum and maximum of few values are too narrow for the values to come: of 16 rows through a layer of six features, the
next row passes them one time in nine, and it is clipped by a good part of its size. Many values need nothing: one
clipped value in 100,000 costs less than wider steps for all.
"""

from __future__ import annotations

import math
from typing import Final, final

_GUMBEL: Final = math.sqrt(6) / math.pi
"""Scale of a Gumbel distribution, which maxima of many values follow, over its standard deviation."""


@final
class RowExtremes:
    """The lowest and the highest value of each row, as sums and sums of squares."""

    __slots__ = ("_highs", "_lows", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._lows = (0.0, 0.0)
        self._highs = (0.0, 0.0)

    def update(self, low: float, high: float) -> None:
        """Adds a row's lowest and highest value."""
        self.rows += 1
        self._lows = (self._lows[0] + low, self._lows[1] + low * low)
        self._highs = (self._highs[0] + high, self._highs[1] + high * high)

    def merge(self, other: RowExtremes) -> None:
        """Adds the rows that `other` has seen."""
        self.rows += other.rows
        self._lows = (self._lows[0] + other._lows[0], self._lows[1] + other._lows[1])
        self._highs = (self._highs[0] + other._highs[0], self._highs[1] + other._highs[1])

    def to_numbers(self) -> tuple[float, ...]:
        """Returns the state as five numbers."""
        return (float(self.rows), *self._lows, *self._highs)

    @staticmethod
    def from_numbers(numbers: tuple[float, ...]) -> RowExtremes:
        """Returns the extremes that `to_numbers` wrote."""
        made = RowExtremes()
        rows, *sums = numbers
        made.rows, made._lows, made._highs = int(rows), (sums[0], sums[1]), (sums[2], sums[3])
        return made

    def headroom(self, low: float, high: float, values: int, levels: int = 256) -> tuple[float, float]:
        """Returns by how much a range is to be wider below and above for the least expected squared error.

        Row maxima are taken as Gumbel distributed with the scale b that their standard deviation gives, so that a new
        value lies more than t above everything seen with the probability exp(-t / b) / n and then has the mean squared
        excess 2 b^2. With the range's width w and the headroom t, the error of a value is

            E(t) = (w + t)^2 / (12 (levels - 1)^2) + 2 b^2 / n exp(-t / b)

        (rounding as in Banner, Nahshan, Soudry, "Post training 4-bit quantization", 2019, eq. 2). Its minimum is where
        exp(-t / b) = n (w + t) / (12 b (levels - 1)^2): at no headroom at all where n is large.

        Args:
            low: Least value of all rows.
            high: Greatest value of all rows.
            values: Number of values of all rows, n.
            levels: Integers of the grid.
        """
        width = high - low
        if self.rows < 2 or width <= 0 or not values:
            return 0.0, 0.0
        # Beyond zero a side has no values of its own: after a ReLU the range begins at 0 and stays there.
        below = self._side(self._lows, width, values, levels) if low < 0 else 0.0
        above = self._side(self._highs, width, values, levels) if high > 0 else 0.0
        return below, above

    def _side(self, sums: tuple[float, float], width: float, values: int, levels: int) -> float:
        mean = sums[0] / self.rows
        variance = max(0.0, sums[1] / self.rows - mean * mean) * self.rows / (self.rows - 1)
        scale = _GUMBEL * math.sqrt(variance)
        found = 0.0
        for _ in range(4 if scale > 0 else 0):  # the fixed point is found to a per cent in four steps
            odds = 12 * scale * (levels - 1) ** 2 / (values * (width + found))
            found = scale * max(0.0, math.log(odds))
        return found
