"""Learning rates rise to their height and fall to nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.training.schedule import Schedule


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 0.0), (0.05, 0.1), (0.1, 0.2), (0.325, 0.1 * (1 + math.cos(math.pi / 4))), (0.55, 0.1), (1.0, 0.0)],
    ids=["start", "half of the warm-up", "top", "an eighth turn", "half of the cosine", "end"],
)
def test_the_rate_follows_warm_up_and_cosine(share, expected):
    assert Schedule(epochs=1, learning_rate=0.2, warmup=0.1).rate_at(share) == pytest.approx(expected, abs=1e-12)


@given(share=st.floats(0, 1), warmup=st.floats(0, 0.9))
def test_the_rate_stays_between_nothing_and_its_height(share, warmup):
    assert 0 <= Schedule(epochs=1, learning_rate=0.3, warmup=warmup).rate_at(share) <= 0.3 + 1e-12
