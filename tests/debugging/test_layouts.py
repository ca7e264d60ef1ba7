from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.debugging.layouts import in_layout, positions, positions_in, possible_layouts

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(lambda sizes: (1, *sizes))


@given(SHAPES)
def test_a_tensor_with_channels_last_comes_back_in_the_float_order(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    moved = np.moveaxis(values, 1, -1)
    if "channels_last" in possible_layouts(shape, moved.shape):
        assert np.array_equal(in_layout(moved, shape, "channels_last"), values)


@given(SHAPES, st.integers(1, 50))
def test_sampled_positions_name_the_same_values_in_both_orders(shape: tuple[int, ...], most: int) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    moved = np.moveaxis(values, 1, -1)
    places = positions_in(shape, moved.shape, "channels_last", most)
    assert np.array_equal(moved.reshape(-1)[places], values.reshape(-1)[positions(values.size, most)])


@pytest.mark.parametrize(
    ("wanted", "given_shape", "expected"),
    [
        ((1, 8, 4, 4), (1, 8, 4, 4), ("same",)),
        ((1, 8, 4, 4), (1, 4, 4, 8), ("channels_last",)),
        ((1, 4, 4, 8), (1, 8, 4, 4), ("channels_first",)),
        ((1, 4, 4, 4), (1, 4, 4, 4), ("same", "channels_last", "channels_first")),
        ((1, 8, 1, 1), (1, 8), ("same", "channels_last", "channels_first")),
        ((1, 5, 6), (1, 6, 5), ("channels_last",)),
        ((1, 8), (8,), ("same",)),
        ((1, 8, 4, 4), (1, 8, 4, 5), ()),
    ],
)
def test_layouts_follow_from_shapes(
    wanted: tuple[int, ...], given_shape: tuple[int, ...], expected: tuple[str, ...]
) -> None:
    assert possible_layouts(wanted, given_shape) == expected
