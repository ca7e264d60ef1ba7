"""Factors for channels: alike where each has its own scale, balanced against the weights where channels mix."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.even_channels import Kernel, balanced_channels, even_channels, times_apart
from edgekit.quantization.ranges import Range


def extremes(*ends: tuple[float, float]) -> ChannelExtremes:
    made = ChannelExtremes(axis=0)
    made.update(np.asarray(ends))
    return made


def test_the_middle_channel_says_how_far_apart_they_are_and_dead_ones_do_not_count() -> None:
    found = extremes((0.0, 100.0), (0.0, 4.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0))
    assert times_apart(found, Range(low=0.0, high=100.0)) == 25.0
    assert times_apart(extremes((0.0, 0.0)), Range(low=0.0, high=0.0)) == 1.0


def test_channels_on_one_side_of_zero_are_divided_by_their_reach() -> None:
    found = even_channels(extremes((0.0, 8.0), (0.0, 2.0)), Range(low=0.0, high=8.0))
    np.testing.assert_allclose(found.factors, [1.0, 0.25])
    assert (found.range.low, found.range.high) == (0.0, 8.0)


def test_a_channel_is_not_widened_beyond_1024_times() -> None:
    found = even_channels(extremes((0.0, 1.0), (0.0, 1e-6)), Range(low=0.0, high=1.0))
    assert found.factors.min() == pytest.approx(1 / 1024)


def test_every_channel_stays_inside_the_range_of_the_results() -> None:
    ends = ((-0.4, 30.0), (-3.0, 2.0), (-0.1, 0.5))
    found = even_channels(extremes(*ends), Range(low=-3.0, high=30.0))
    low, high = np.transpose(ends) / found.factors
    assert low.min() >= found.range.low - 1e-9
    assert high.max() <= found.range.high + 1e-9


def test_a_depthwise_layer_takes_all_of_it() -> None:
    ends, whole = extremes((0.0, 100.0), (0.0, 1.0)), Range(low=0.0, high=100.0)
    found = balanced_channels(ends, whole, [Kernel(weights=np.ones((2, 1, 3, 3)), groups=2)])
    assert found is not None
    np.testing.assert_allclose(found.factors, even_channels(ends, whole).factors)


def test_a_layer_that_mixes_channels_takes_a_part() -> None:
    ends, whole = extremes(*((0.0, 10.0 * 0.7**i) for i in range(8))), Range(low=0.0, high=10.0)
    found = balanced_channels(ends, whole, [Kernel(weights=np.random.default_rng(0).normal(0, 1, (8, 8)))])
    assert found is not None
    assert even_channels(ends, whole).factors.min() < found.factors.min() < 1


def test_nothing_is_changed_where_the_weights_would_lose_more() -> None:
    ends, whole = extremes((0.0, 2.0), (0.0, 1.0)), Range(low=0.0, high=2.0)
    assert balanced_channels(ends, whole, [Kernel(weights=np.array([[1000.0, 1.0]]))]) is None


def test_each_group_of_a_layer_reads_its_own_channels() -> None:
    scaled = Kernel(weights=np.ones((4, 1, 1)), groups=2).scaled(np.array([1.0, 3.0]))
    assert scaled.reshape(-1).tolist() == [1.0, 1.0, 3.0, 3.0]
