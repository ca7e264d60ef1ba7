"""About how long the rest of a sweep takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, final

from edgekit.sweeping.stages import Tally

_FEWEST: Final = 3
"""Rows from which an estimate is made."""


@final
class Pace:
    """Estimates what is left from the rows that were judged since it was made; captures and conversions count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()

    def words(self, tallies: Iterable[Tally]) -> str:
        """Returns the estimate, such as `, about 5 min for all`; "" where nothing is left or too little is known."""
        known = tuple(tallies)
        judged = sum(tally.done + tally.failed for tally in known)
        left = sum(tally.total - tally.over for tally in known)
        if judged < _FEWEST or not left:
            return ""
        seconds = (self._clock() - self._started) / judged * left
        return f", about {_duration(seconds)} for all"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
