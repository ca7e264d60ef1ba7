"""Statistics of timings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.measurements.latency_figures import LatencyFigures, figures_of

TIMES = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=200)


@given(TIMES)
def test_the_figure_is_the_median_and_lies_in_its_interval(samples: list[float]) -> None:
    figures = figures_of(samples)
    assert figures.value_ms == pytest.approx(float(np.median(samples)))
    assert (figures.low_ms is None) == (len(samples) < 6)
    if figures.low_ms is not None and figures.high_ms is not None:
        assert figures.min_ms is not None
        assert figures.max_ms is not None
        assert figures.min_ms <= figures.low_ms <= figures.value_ms <= figures.high_ms <= figures.max_ms
    assert figures.runs == len(samples) == len(figures.samples_ms)


def test_a_sentence_tells_figure_interval_and_count() -> None:
    assert figures_of([1.0] * 20).sentence == "median 1 ms (1 ms to 1 ms), p95 1 ms over 20 runs"
    assert figures_of([2.0]).sentence == "median 2 ms, p95 2 ms over 1 run"
    assert LatencyFigures(value_ms=0.4, statistic="estimate").sentence == "estimate 0.4 ms"


@pytest.mark.parametrize(
    ("last", "reported"),
    [
        pytest.param(1.09, "", id="below the limit"),
        pytest.param(
            1.1,
            "The last third of the runs was 1.10 x as slow as the first: the device throttles, or something else runs "
            "on it.",
            id="on the limit",
        ),
    ],
)
def test_timings_that_rise_are_reported(last: float, reported: str) -> None:
    assert figures_of([1.0] * 20 + [last] * 10).drift_sentence == reported


def test_few_timings_say_nothing_about_drift() -> None:
    assert figures_of([1.0] * 14 + [9.0] * 15).drift is None
