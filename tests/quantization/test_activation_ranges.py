"""Ranges end where the activation that reads them is flat."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.quantization.activation_ranges import distinct_range
from edgekit.quantization.pt2e_ranges import Bounds, Histogram
from edgekit.quantization.ranges import Range, choose_range
from edgekit.quantization.statistics import TensorStatistics


def test_a_hard_swish_needs_nothing_below_minus_three():
    low, high = distinct_range(-40.0, 10.0, "hardswish")
    # A quarter of a step is 10.375 / 255 / 4 = 0.01, which it reaches at -2.98.
    assert (-3.0 <= low < -2.95, high) == (True, 10.0)


@pytest.mark.parametrize(("activation", "reach"), [("sigmoid", 6.9), ("tanh", 3.5)])
def test_what_is_flat_on_both_sides_loses_both(activation, reach):
    low, high = distinct_range(-50.0, 30.0, activation)
    assert (low, high) == (pytest.approx(-reach, abs=0.2), pytest.approx(reach, abs=0.2))


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("gelu", lambda x: x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))) / 2),
        ("mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        ("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    ],
)
@pytest.mark.parametrize(("low", "high"), [(-30.0, 25.0), (-30.0, 2.0), (-7.0, 100.0)])
def test_no_result_moves_by_more_than_a_quarter_of_a_step(activation, function, low, high):
    found = distinct_range(low, high, activation)
    values = np.linspace(low, high, 100_001)
    moved = np.abs(function(np.clip(values, *found)) - function(values)).max()
    step = (function(values).max() - function(values).min()) / 255
    assert moved <= 1.01 * step / 4
    assert (found[0] > low, found[1] == high) == (True, True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 4.0), (0.0, 0.0), (-0.5, 4.0)])
def test_a_range_without_a_flat_end_stays(low, high):
    assert distinct_range(low, high, "silu") == (low, high)


def test_zero_stays_in_a_range_that_is_flat_throughout():
    low, high = distinct_range(-40.0, 0.0, "hardswish")
    assert low <= 0.0 <= high


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_every_method_ends_where_the_activation_is_flat(method):
    statistics = TensorStatistics("x")
    statistics.update(np.linspace(-40, 10, 20_000, dtype=np.float32))
    assert choose_range(statistics, method, activation="hardswish").low == pytest.approx(-3.0, abs=0.1)
    assert choose_range(statistics, method).low < -30
    # A symmetric range reaches as far as its larger side.
    assert choose_range(statistics, method, symmetric=True, activation="hardswish").low < -9


def test_bounds_and_histograms_agree():
    import torch

    values = torch.linspace(-40, 10, 2_000)
    bounds, histogram = Bounds("x", "hardswish"), Histogram("x", "minmax", (), "hardswish")
    bounds.update(values)
    histogram.update(values)
    assert bounds.range() == histogram.range() == Range(low=pytest.approx(-2.98, abs=0.02), high=10.0)
