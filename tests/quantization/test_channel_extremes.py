from __future__ import annotations

import numpy as np

from edgekit.quantization.channel_extremes import ChannelExtremes


def test_each_channel_has_its_own_ends_around_zero() -> None:
    extremes = ChannelExtremes(axis=1)
    extremes.update(np.array([[[1.0, 2.0], [-3.0, -1.0]]], np.float32))
    extremes.update(np.array([[[0.5, 4.0], [-2.0, 6.0]]], np.float32))
    low, high = extremes.ranges()
    assert low.tolist() == [0.0, -3.0]
    assert high.tolist() == [4.0, 6.0]


def test_before_anything_was_seen_there_is_one_range_of_zero() -> None:
    low, high = ChannelExtremes(axis=1).ranges()
    assert (low.tolist(), high.tolist()) == ([0.0], [0.0])
