"""4-bit weights in groups: one rounding for every format."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.quantization.grouped_weights import HIGH, round_groups

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((40, 128)).astype(np.float32)


def error(rows, group):
    return float(((round_groups(rows, group).values() - rows) ** 2).sum())


def plain(rows, group):
    """Returns the rounding whose scales come from the largest weight of each group."""
    groups = rows.reshape(-1, group)
    scale = np.abs(groups).max(axis=1, keepdims=True) / HIGH
    return (np.round(groups / scale) * scale).reshape(rows.shape)


@pytest.mark.parametrize("group", [32, 64])
def test_it_errs_less_than_scales_of_the_largest_weights(group):
    assert error(ROWS, group) < 0.95 * float(((plain(ROWS, group) - ROWS) ** 2).sum())


def test_smaller_groups_err_less():
    assert error(ROWS, 32) < error(ROWS, 64)


def test_what_lies_on_a_grid_stays_where_it_is():
    once = round_groups(ROWS, 64)
    again = round_groups(once.values(), 64)
    np.testing.assert_array_equal(again.values(), once.values())


def test_a_quantizer_that_takes_its_scale_from_the_largest_weight_finds_the_same_integers():
    found = round_groups(ROWS, 32)
    np.testing.assert_array_equal(plain(found.values(), 32), found.values())
    assert np.abs(found.integers.reshape(-1, 32)).max(axis=1).tolist() == [HIGH] * 160


def test_scales_have_the_significant_bits_of_bfloat16():
    scales = round_groups(ROWS, 32).scales
    assert not (scales.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float32), scales)


def test_groups_of_zeros_stay_zeros_and_keep_a_scale():
    rows = ROWS.copy()
    rows[3] = 0
    found = round_groups(rows, 64)
    assert not found.values()[3].any()
    assert (found.scales > 0).all()


def test_parts_of_a_large_table_are_rounded_as_the_whole_is():
    large = RNG.standard_normal((10_000, 128)).astype(np.float32)
    np.testing.assert_array_equal(round_groups(large, 64).integers[-7:], round_groups(large[-7:], 64).integers)


@pytest.mark.parametrize("even_high", [False, True], ids=["even-low", "even-high"])
def test_two_integers_share_a_byte(even_high):
    found = round_groups(ROWS, 32)
    packed = found.packed(even_high=even_high)
    halves = (packed >> 4, packed & 15) if even_high else (packed & 15, packed >> 4)
    np.testing.assert_array_equal(np.stack(halves, axis=-1).reshape(ROWS.shape).astype(int) - 8, found.integers)
