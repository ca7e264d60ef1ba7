"""What a sweep says about the time that is left."""

from __future__ import annotations

import pytest

from edgekit.sweeping.pace import Pace
from edgekit.sweeping.stages import Tally


@pytest.mark.parametrize(
    ("elapsed_s", "words"),
    [(30.0, ", about 50 s for all"), (120.0, ", about 3 min for all"), (7200.0, ", about 3.3 h for all")],
    ids=["seconds", "minutes", "hours"],
)
def test_the_rest_is_expected_to_take_as_long_a_row(elapsed_s: float, words: str) -> None:
    times = iter((0.0, elapsed_s))
    tallies = [Tally(total=6, done=2, failed=1), Tally(total=10, done=3, cached=0)]
    assert Pace(lambda: next(times)).words(tallies) == words


def test_nothing_is_said_of_too_little_or_of_nothing_left() -> None:
    pace = Pace(lambda: 0.0)
    assert pace.words([Tally(total=9, done=2)]) == ""
    assert pace.words([Tally(total=9, done=4, cached=5)]) == ""
