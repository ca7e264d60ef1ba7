from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.quantization.bias_correction import ChannelMeans, mean_shift, round_weights

NUMBERS = st.one_of(st.just(0.0), st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))


def arrays(*shape):
    return hnp.arrays(np.float64, shape, elements=NUMBERS)


WEIGHTS = hnp.array_shapes(min_dims=2, max_dims=4, max_side=5).flatmap(lambda shape: arrays(*shape))


@settings(deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 2**32 - 1)
)
def test_means_of_any_split_are_those_of_all_rows(channels, width, rows, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(count, channels, width)) for count in rows]
    means = ChannelMeans(1)
    for part in parts:
        means.update(part)
    np.testing.assert_allclose(means.mean(), np.concatenate(parts).mean(axis=(0, 2)), atol=1e-12)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        pytest.param(1, (2, 3, 4, 5), id="NCHW"),
        pytest.param(-1, (2, 4, 5, 3), id="NHWC"),
        pytest.param(-1, (7, 3), id="matrix"),
        pytest.param(0, (3,), id="vector"),
    ],
)
def test_the_channel_axis_counts_from_either_end(axis, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    means = ChannelMeans(axis)
    means.update(values)
    expected = np.moveaxis(values.astype(np.float64), axis, 0).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(means.mean(), expected, rtol=1e-12)


def test_batches_of_another_rank_share_the_last_axis():
    means = ChannelMeans(-1)
    means.update(np.array([[1.0, 2.0]]))
    means.update(np.array([[[3.0, 4.0], [5.0, 6.0]]]))
    np.testing.assert_allclose(means.mean(), [3.0, 4.0])


def test_means_before_the_first_update_are_empty():
    assert ChannelMeans(1).mean().shape == (0,)


def test_means_of_many_small_floats_do_not_lose_digits():
    means = ChannelMeans(-1)
    means.update(np.full((1_000_000, 1), 0.1, dtype=np.float32))
    assert means.mean()[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@settings(deadline=None)
@given(WEIGHTS, st.sampled_from([None, 0, 1, -1]))
def test_rounded_weights_are_at_most_half_a_step_off_and_on_the_grid(weights, axis):
    rounded = round_weights(weights, axis)
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    step = largest / 127
    assert rounded.dtype == np.float64
    assert (np.abs(rounded - weights) <= step * 0.5 + 1e-12 * largest).all()
    stored = np.divide(rounded, step, out=np.zeros_like(rounded), where=np.broadcast_to(step > 0, rounded.shape))
    np.testing.assert_allclose(stored, np.round(stored), atol=1e-6)
    assert np.abs(stored).max() <= 127 + 1e-6


@settings(deadline=None)
@given(WEIGHTS, st.sampled_from([None, 0]))
def test_rounding_twice_changes_nothing_more(weights, axis):
    once = round_weights(weights, axis)
    np.testing.assert_allclose(round_weights(once, axis), once, rtol=1e-12)


@settings(deadline=None)
@given(WEIGHTS)
def test_the_largest_weight_of_each_channel_and_zeros_stay_exact(weights):
    rounded = round_weights(weights, 0)
    axes = tuple(range(1, weights.ndim))
    np.testing.assert_allclose(np.abs(rounded).max(axis=axes), np.abs(weights).max(axis=axes), rtol=1e-12)
    assert (rounded[weights == 0] == 0).all()


def test_a_channel_of_zeros_stays_zero():
    np.testing.assert_array_equal(round_weights(np.array([[0.0, 0.0], [1.0, -1.0]]), 0), [[0.0, 0.0], [1.0, -1.0]])


def test_one_scale_for_the_tensor_rounds_small_channels_away():
    weights = np.array([[0.001, 0.002], [1.0, -1.0]])
    np.testing.assert_array_equal(round_weights(weights, None)[0], [0.0, 0.0])
    assert (round_weights(weights, 0)[0] > 0).all()


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_corrected_bias_leaves_no_mean_error_of_a_matrix_product(outputs, inputs, rows, seed):
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(size=(outputs, inputs)), rng.normal(size=outputs)
    batch = np.maximum(rng.normal(size=(rows, inputs)), 0)
    means = ChannelMeans(-1)
    means.update(batch)
    rounded = round_weights(weights, 0)
    corrected = bias - mean_shift(rounded - weights, means.mean())
    error = (batch @ rounded.T + corrected) - (batch @ weights.T + bias)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("outputs", "inputs", "groups"),
    [
        pytest.param(4, 6, 1, id="plain"),
        pytest.param(4, 6, 2, id="two groups"),
        pytest.param(6, 6, 6, id="depthwise"),
        pytest.param(12, 6, 6, id="depthwise with multiplier 2"),
    ],
)
def test_the_shift_of_a_grouped_convolution_is_that_of_its_definition(outputs, inputs, groups):
    rng = np.random.default_rng(4)
    error, means = rng.normal(size=(outputs, inputs // groups, 3, 3)), rng.normal(size=inputs)
    expected = np.zeros(outputs)
    for o in range(outputs):
        group = o * groups // outputs
        for i in range(inputs // groups):
            expected[o] += error[o, i].sum() * means[group * (inputs // groups) + i]
    np.testing.assert_allclose(mean_shift(error, means, groups), expected, atol=1e-12)


@settings(deadline=None)
@given(arrays(3, 2, 3), arrays(2), arrays(2))
def test_the_shift_is_linear_in_the_means(error, one, other):
    both = mean_shift(error, one) + mean_shift(error, other)
    np.testing.assert_allclose(mean_shift(error, one + other), both, rtol=1e-9, atol=1e-3 * 1e-3)


def test_weights_without_error_or_inputs_of_mean_zero_need_no_correction():
    np.testing.assert_array_equal(mean_shift(np.zeros((3, 2)), np.ones(2)), np.zeros(3))
    np.testing.assert_array_equal(mean_shift(np.ones((3, 2)), np.zeros(2)), np.zeros(3))
