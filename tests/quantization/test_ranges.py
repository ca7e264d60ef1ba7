from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgekit.quantization.ranges import (
    Grid,
    Range,
    affine_grid,
    choose_range,
    minmax_range,
    mse_range,
    percentile_range,
    symmetric_grid,
)
from edgekit.quantization.statistics import TensorStatistics

METHODS = ("minmax", "percentile", "mse")
VALUES = st.one_of(st.just(0.0), st.floats(1e-4, 1e4), st.floats(-1e4, -1e-4))
SAMPLES = st.lists(VALUES, min_size=1, max_size=80)
RANGES = st.builds(
    lambda low, high: Range(low=-low, high=high),
    st.one_of(st.just(0.0), st.floats(1e-6, 1e6)),
    st.one_of(st.just(0.0), st.floats(1e-6, 1e6)),
)


def statistics_of(values):
    made = TensorStatistics("x")
    made.update(np.asarray(values, dtype=np.float64))
    return made


def expected_error(statistics, found, steps):
    """The documented model of the squared error, bin by bin: rounding inside, clipping outside."""
    counts, edges = statistics.histogram()
    centres = np.clip((edges[:-1] + edges[1:]) / 2, statistics.minimum, statistics.maximum)
    inside = (centres >= found.low) & (centres <= found.high)
    rounded = max(int(counts[inside].sum()) - statistics.zeros, 0)
    clipped = np.maximum(found.low - centres, 0) + np.maximum(centres - found.high, 0)
    return ((found.high - found.low) / steps) ** 2 / 12 * rounded + float((counts * clipped**2).sum())


@settings(deadline=None)
@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
@pytest.mark.parametrize("method", METHODS)
@given(values=SAMPLES)
@example(values=[0.0])
@example(values=[-3.0])
@example(values=[2.0, 2.0])
def test_every_range_contains_zero_and_stays_inside_what_was_seen(method, symmetric, values):
    statistics = statistics_of(values)
    found = choose_range(statistics, method, symmetric=symmetric)
    seen = minmax_range(statistics)
    if symmetric:
        seen = seen.symmetric()
    assert seen.low <= found.low <= 0.0 <= found.high <= seen.high


@settings(deadline=None)
@pytest.mark.parametrize("method", METHODS)
@given(values=SAMPLES)
def test_a_symmetric_range_has_zero_in_its_middle(method, values):
    found = choose_range(statistics_of(values), method, symmetric=True)
    assert found.low == -found.high


@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_was_never_seen_has_an_empty_range(method, symmetric):
    assert choose_range(TensorStatistics("x"), method, symmetric=symmetric) == Range(low=0.0, high=0.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_an_empty_range(method):
    assert choose_range(statistics_of([0.0, 0.0]), method) == Range(low=0.0, high=0.0)


@settings(deadline=None)
@given(SAMPLES)
def test_minmax_is_everything_that_was_seen_and_zero(values):
    assert minmax_range(statistics_of(values)) == Range(low=min(0.0, *values), high=max(0.0, *values))


@settings(deadline=None)
@given(SAMPLES)
def test_all_per_cent_are_the_minmax_range(values):
    statistics = statistics_of(values)
    assert percentile_range(statistics, 100.0) == minmax_range(statistics)


@settings(deadline=None)
@given(SAMPLES, st.floats(50, 100), st.floats(50, 100))
def test_fewer_per_cent_never_give_a_wider_range(values, one, other):
    narrow = percentile_range(statistics_of(values), min(one, other))
    wide = percentile_range(statistics_of(values), max(one, other))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@settings(deadline=None)
@given(SAMPLES, st.floats(50, 100))
def test_percentile_leaves_out_its_share_to_within_one_bin(values, percent):
    statistics = statistics_of(values)
    found = percentile_range(statistics, percent)
    array, width = np.array(values), statistics.bin_width
    tail = (100 - percent) / 200 * len(values) + 1e-9
    assert int((array < found.low - width).sum()) <= tail
    assert int((array > found.high + width).sum()) <= tail


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentile_of_evenly_spread_values_is_known(percent):
    statistics = statistics_of(np.linspace(-1, 1, 200_001))
    found = percentile_range(statistics, percent)
    assert found.low == pytest.approx(-percent / 100, abs=1e-4)
    assert found.high == pytest.approx(percent / 100, abs=1e-4)


@settings(deadline=None)
@given(SAMPLES, st.floats(50, 100))
def test_percentile_treats_both_sides_alike(values, percent):
    statistics, mirrored = statistics_of(values), statistics_of([-value for value in values])
    found, other = percentile_range(statistics, percent), percentile_range(mirrored, percent)
    # A value on an edge lies in the bin above it, so mirrored values may move by one bin.
    step = 2 * max(statistics.bin_width, mirrored.bin_width)
    assert found.low == pytest.approx(-other.high, abs=step)
    assert found.high == pytest.approx(-other.low, abs=step)


@pytest.mark.parametrize("sign", [1, -1], ids=["above", "below"])
def test_percentile_does_not_cut_into_the_gap_before_an_outlier_that_it_keeps(sign):
    statistics = statistics_of([0.0] * 99_999 + [sign * 40.0])
    found = percentile_range(statistics)
    assert max(-found.low, found.high) == pytest.approx(40.0, abs=statistics.bin_width)


@pytest.mark.parametrize(("method", "limit"), [("percentile", 8.0), ("mse", 20.0)])
def test_one_outlier_in_a_million_does_not_set_the_range(method, limit):
    values = np.random.default_rng(0).normal(size=1_000_000)
    values[7] = 40.0
    statistics = statistics_of(values)
    assert minmax_range(statistics).high == 40.0
    assert 3.0 < choose_range(statistics, method).high < limit


@settings(deadline=None)
@given(SAMPLES, st.sampled_from([16, 256]))
def test_mse_never_has_a_larger_expected_error_than_minmax(values, levels):
    statistics = statistics_of(values)
    best = expected_error(statistics, mse_range(statistics, levels), levels - 1)
    assert best <= expected_error(statistics, minmax_range(statistics), levels - 1) * (1 + 1e-6) + 1e-20


@settings(deadline=None)
@given(SAMPLES, st.sampled_from([16, 256]))
def test_symmetric_mse_never_has_a_larger_expected_error_than_symmetric_minmax(values, levels):
    statistics = statistics_of(values)
    best = expected_error(statistics, mse_range(statistics, levels, symmetric=True), levels - 2)
    limit = expected_error(statistics, minmax_range(statistics).symmetric(), levels - 2)
    assert best <= limit * (1 + 1e-6) + 1e-20


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng: rng.normal(size=5000), id="normal"),
        pytest.param(lambda rng: rng.laplace(size=5000), id="laplace"),
        pytest.param(lambda rng: np.maximum(rng.laplace(size=5000), 0), id="after a relu"),
        pytest.param(lambda rng: -rng.exponential(size=5000), id="negative"),
    ],
)
def test_mse_finds_the_best_of_all_pairs_of_128_thresholds(draw, levels):
    statistics = statistics_of(draw(np.random.default_rng(1)))
    full, steps = minmax_range(statistics), np.arange(8, 129, 8) / 128
    tried = [Range(low=a * full.low, high=b * full.high) for a in steps for b in steps]
    limit = min(expected_error(statistics, item, levels - 1) for item in tried)
    found = mse_range(statistics, levels)
    assert expected_error(statistics, found, levels - 1) <= limit * (1 + 1e-9)


@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
def test_mse_quantizes_heavy_tails_to_4_bits_with_less_real_error_than_minmax(symmetric):
    values = np.random.default_rng(2).laplace(size=20_000)
    statistics = statistics_of(values)

    def error(found):
        grid = symmetric_grid(found, 7) if symmetric else affine_grid(found, -8, 7)
        stored = np.clip(np.round(values / grid.scale) + grid.zero_point, -7 if symmetric else -8, 7)
        return float(((values - grid.scale * (stored - grid.zero_point)) ** 2).mean())

    full = minmax_range(statistics)
    assert error(mse_range(statistics, 16, symmetric=symmetric)) < 0.7 * error(full)


def test_zeros_after_a_relu_have_no_rounding_error_in_the_choice():
    rng = np.random.default_rng(3)
    positive = rng.exponential(size=2000)
    alone = mse_range(statistics_of(positive), 16)
    among_zeros = mse_range(statistics_of(np.concatenate([positive, np.zeros(50_000)])), 16)
    assert alone == among_zeros


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(Range(low=-1.0, high=3.0), Range(low=-3.0, high=3.0), id="wider above"),
        pytest.param(Range(low=-4.0, high=3.0), Range(low=-4.0, high=4.0), id="wider below"),
        pytest.param(Range(low=0.0, high=0.0), Range(low=0.0, high=0.0), id="empty"),
    ],
)
def test_the_symmetric_range_is_the_smallest_around(found, expected):
    assert found.symmetric() == expected


@settings(deadline=None)
@given(RANGES, st.sampled_from([(-128, 127), (0, 255), (-8, 7), (-32768, 32767)]))
def test_an_affine_grid_covers_its_range_to_half_a_step_with_zero_on_it(found, ends):
    low, high = ends
    grid = affine_grid(found, low, high)
    assert grid.scale > 0
    assert low <= grid.zero_point <= high
    if found.high > found.low:
        assert grid.scale * (high - low) == pytest.approx(found.high - found.low)
        half = grid.scale * 0.5000001
        assert abs(grid.scale * (low - grid.zero_point) - found.low) <= half
        assert abs(grid.scale * (high - grid.zero_point) - found.high) <= half


@settings(deadline=None)
@given(RANGES, st.sampled_from([127, 7, 32767]))
def test_a_symmetric_grid_maps_the_larger_side_onto_its_end(found, high):
    grid = symmetric_grid(found, high)
    assert grid.zero_point == 0
    bound = max(-found.low, found.high)
    assert grid.scale * high == pytest.approx(bound or high)


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [pytest.param(-128, 127, 0, id="int8"), pytest.param(0, 255, 0, id="uint8"), pytest.param(3, 9, 3, id="no zero")],
)
def test_an_empty_range_has_step_one(low, high, zero_point):
    assert affine_grid(Range(low=0.0, high=0.0), low, high) == Grid(scale=1.0, zero_point=zero_point)
    assert symmetric_grid(Range(low=0.0, high=0.0), 127) == Grid(scale=1.0, zero_point=0)


def test_the_known_grid_of_a_relu6():
    assert affine_grid(Range(low=0.0, high=6.0), -128, 127) == Grid(scale=6 / 255, zero_point=-128)


@pytest.mark.parametrize("value", [Range(low=0.0, high=1.0), Grid(scale=1.0, zero_point=0)], ids=["range", "grid"])
def test_ranges_and_grids_cannot_be_changed(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 2.0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(-1.0, 1.0, (-1.0, 128 / 127), id="pixels from -1 to 1"),
        pytest.param(-127 / 128, 1.0, (-127 / 128, 1.0), id="whole already"),
        pytest.param(0.0, 1.0, (0.0, 1.0), id="nothing below 0"),
        pytest.param(-2.0, 0.0, (-2.0, 0.0), id="nothing above 0"),
        pytest.param(-1e-4, 1.0, (-1 / 254, 1.0), id="a part of a step below 0"),
    ],
)
def test_both_ends_of_what_is_fed_are_whole_steps_from_0(low, high, expected):
    found = Range(low=low, high=high).on_whole_steps()
    assert (found.low, found.high) == pytest.approx(expected)


@settings(deadline=None)
@given(RANGES)
def test_whole_steps_cover_the_range_and_cost_little(found):
    whole = found.on_whole_steps()
    assert whole.low <= found.low + 1e-6 * (found.high - found.low)
    assert whole.high >= found.high - 1e-6 * (found.high - found.low)
    narrow = min(-found.low, found.high)
    most = 1.01 if narrow * 255 > found.high - found.low else 255 / 254 + 1e-6
    assert whole.high - whole.low <= (found.high - found.low) * most + 1e-30
    if found.low < 0 < found.high:
        grid = affine_grid(whole, -128, 127)
        assert grid.scale * (-128 - grid.zero_point) <= found.low + 2e-4 * grid.scale
        assert grid.scale * (127 - grid.zero_point) >= found.high - 2e-4 * grid.scale


def test_only_an_input_of_the_model_ends_on_whole_steps():
    statistics = statistics_of(np.linspace(-1, 1, 1000))
    assert choose_range(statistics, "minmax") == Range(low=-1.0, high=1.0)
    assert choose_range(statistics, "minmax", fed=True).high == pytest.approx(128 / 127)
    assert choose_range(statistics, "minmax", fed=True, symmetric=True) == Range(low=-1.0, high=1.0)


def test_pixels_from_minus_1_to_1_lie_nearer_to_their_grid():
    pixels = (np.arange(256) - 127.5) / 127.5

    def error(found):
        grid = affine_grid(found, -128, 127)
        stored = np.clip(np.rint(pixels / grid.scale) + grid.zero_point, -128, 127)
        return float(np.sqrt(((grid.scale * (stored - grid.zero_point) - pixels) ** 2).mean())) * 127.5

    assert error(Range(low=-1.0, high=1.0)) == pytest.approx(0.5, abs=0.01)
    assert error(Range(low=-1.0, high=1.0).on_whole_steps()) < 0.3
