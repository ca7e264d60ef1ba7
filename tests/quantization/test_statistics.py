from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import DataError
from edgekit.quantization.statistics import BINS, ModelStatistics, TensorStatistics

# Zero and both signs over 30 powers of ten; the smallest does not underflow float32 at the largest's bin width.
MAGNITUDES = st.floats(min_value=1e-15, max_value=1e15, width=64)
VALUES = st.one_of(st.just(0.0), MAGNITUDES, MAGNITUDES.map(lambda v: -v), st.integers(-300, 300).map(float))
DTYPES = st.sampled_from([np.float32, np.float64])


@st.composite
def batches(draw):
    """Arrays that together hold one list of values."""
    values = np.array(draw(st.lists(VALUES, min_size=1, max_size=60)), dtype=draw(DTYPES))
    cuts = sorted(draw(st.lists(st.integers(0, values.size), max_size=4)))
    return np.split(values, cuts)


def statistics_of(*arrays, name="x"):
    made = TensorStatistics(name)
    for array in arrays:
        made.update(array)
    return made


def assert_same(one, other):
    assert (one.minimum, one.maximum, one.count, one.zeros) == (other.minimum, other.maximum, other.count, other.zeros)
    assert one.bin_width == other.bin_width
    for a, b in zip(one.histogram(), other.histogram(), strict=True):
        np.testing.assert_array_equal(a, b)
    # Sums of floats depend on the order in their last digits only; they are compared on the scale of the values.
    largest = max(-one.minimum, one.maximum)
    assert one.mean == pytest.approx(other.mean, rel=1e-5, abs=1e-5 * largest)
    assert one.mean_square == pytest.approx(other.mean_square, rel=1e-4, abs=1e-30)


@settings(deadline=None)
@given(batches())
def test_updating_in_any_split_equals_one_update(parts):
    assert_same(statistics_of(*parts), statistics_of(np.concatenate(parts)))


@settings(deadline=None)
@given(batches())
def test_merging_any_split_equals_one_update(parts):
    merged = TensorStatistics("x")
    for part in parts:
        merged.merge(statistics_of(part))
    assert_same(merged, statistics_of(np.concatenate(parts)))


@settings(deadline=None)
@given(batches())
def test_the_order_of_batches_does_not_matter(parts):
    assert_same(statistics_of(*parts), statistics_of(*reversed(parts)))


@settings(deadline=None)
@given(batches())
def test_merging_is_the_same_from_either_side(parts):
    left, right = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    one, other = statistics_of(*left), statistics_of(*right)
    one.merge(other)
    swapped = statistics_of(*right)
    swapped.merge(statistics_of(*left))
    assert_same(one, swapped)


@settings(deadline=None)
@given(batches())
def test_minimum_maximum_count_and_zeros_are_exact(parts):
    values = np.concatenate(parts)
    found = statistics_of(*parts)
    assert (found.minimum, found.maximum) == (float(values.min()), float(values.max()))
    assert (found.count, found.zeros) == (values.size, int((values == 0).sum()))


@settings(deadline=None)
@given(batches())
def test_mean_and_mean_square_are_those_of_all_values(parts):
    values = np.concatenate(parts).astype(np.float64)
    found = statistics_of(*parts)
    assert found.mean == pytest.approx(float(values.mean()), rel=1e-6, abs=1e-9 * float(np.abs(values).max()))
    assert found.mean_square == pytest.approx(float((values**2).mean()), rel=1e-5)


@settings(deadline=None)
@given(batches())
def test_every_value_is_counted_in_the_bin_that_holds_it(parts):
    values = np.concatenate(parts)
    counts, edges = statistics_of(*parts).histogram()
    assert int(counts.sum()) == values.size
    assert edges.size == counts.size + 1
    expected = np.histogram(values.astype(np.float64), edges)[0]
    # numpy closes the last bin on the right; ours are all half open, so no value lies on the last edge.
    assert float(values.max()) < edges[-1]
    np.testing.assert_array_equal(counts, expected)


@settings(deadline=None)
@given(batches())
def test_the_histogram_is_trimmed_to_bins_that_are_not_empty(parts):
    counts, _ = statistics_of(*parts).histogram()
    assert counts[0] > 0
    assert counts[-1] > 0
    assert counts.size <= BINS


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20), st.floats(-1e6, -0.001))
def test_bins_are_a_power_of_two_wide_and_at_least_1024_lie_inside_the_largest_value(values, negative):
    found = statistics_of(np.array([*values, negative]))
    assert math.frexp(found.bin_width)[0] == 0.5
    assert BINS // 4 <= max(-found.minimum, found.maximum) / found.bin_width <= BINS // 2


@pytest.mark.parametrize(
    ("value", "width"),
    [
        pytest.param(1.0, 2.0**-10, id="a power of two starts a new bin"),
        pytest.param(-1.0, 2.0**-11, id="the negative side holds its end"),
        pytest.param(0.999, 2.0**-11, id="just below"),
        pytest.param(0.0, 2.0**-100, id="zero"),
        pytest.param(1e-40, 2.0**-100, id="the finest grid"),
    ],
)
def test_the_bin_width_is_the_smallest_that_holds_the_value(value, width):
    assert statistics_of(np.array([value])).bin_width == width


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64]
)
def test_every_real_dtype_is_read_by_value(dtype):
    values = np.array([[0, 1, 2], [3, 100, 7]], dtype=dtype)
    found = statistics_of(values)
    assert (found.minimum, found.maximum, found.count, found.zeros) == (0, 100, 6, 1)
    assert found.mean == pytest.approx(113 / 6)
    assert found.mean_square == pytest.approx((1 + 4 + 9 + 10_000 + 49) / 6)


def test_booleans_are_zero_and_one():
    found = statistics_of(np.array([True, False, True]))
    assert (found.minimum, found.maximum, found.zeros, found.mean) == (0.0, 1.0, 1, pytest.approx(2 / 3))


@pytest.mark.parametrize("value", [2**24 + 1, 2**31 - 1, -(2**31)], ids=["beyond float32", "largest", "smallest"])
def test_large_integers_are_not_rounded(value):
    assert statistics_of(np.array([value], dtype=np.int32)).maximum == value


def test_squares_of_huge_values_do_not_overflow():
    found = statistics_of(np.full(100_000, 3e37, dtype=np.float32))
    assert found.mean_square == pytest.approx(9e74, rel=1e-5)


def test_more_values_than_one_step_are_all_counted():
    values = np.random.default_rng(0).normal(size=200_001).astype(np.float32)
    found = statistics_of(values)
    assert found.count == int(found.histogram()[0].sum()) == 200_001
    assert_same(found, statistics_of(*np.array_split(values, 7)))


def test_a_view_that_is_not_contiguous_is_read_in_full():
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert_same(statistics_of(values[:, ::2].T), statistics_of(np.ascontiguousarray(values[:, ::2])))


def test_an_update_leaves_the_array_as_it_was():
    values = np.array([0.5, -3.0], dtype=np.float32)
    statistics_of(values)
    np.testing.assert_array_equal(values, np.array([0.5, -3.0], dtype=np.float32))


def test_nothing_seen_has_no_mean_and_no_bins():
    found = statistics_of(np.zeros((0, 3), dtype=np.float32))
    counts, edges = found.histogram()
    assert (found.count, found.mean, found.mean_square, found.minimum, found.maximum) == (
        0,
        0.0,
        0.0,
        math.inf,
        -math.inf,
    )
    assert counts.size == 0
    assert edges.size == 1


def test_merging_nothing_changes_nothing():
    values = np.array([1.0, -2.0])
    found = statistics_of(values)
    found.merge(TensorStatistics("x"))
    assert_same(found, statistics_of(values))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_value_that_is_not_finite_is_refused_and_nothing_is_counted(bad, dtype):
    found = statistics_of(np.array([1.0]), name="relu_3")
    message = (
        'The tensor "relu_3" has NaN or infinite values while the float model runs on calibration data. '
        "Check the calibration data's preprocessing, and that the float model itself works on it."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        found.update(np.array([2.0, bad], dtype=dtype))
    assert_same(found, statistics_of(np.array([1.0])))


@settings(deadline=None)
@given(batches())
def test_arrays_give_the_statistics_back_exactly(parts):
    found = statistics_of(*parts)
    back = TensorStatistics.from_arrays("x", found.to_arrays())
    assert (back.total, back.total_square, back.name) == (found.total, found.total_square, "x")
    assert_same(back, found)


def test_statistics_that_were_read_back_go_on_counting():
    first, second = np.array([0.0, 0.25]), np.array([-1e9, 3.0])
    back = TensorStatistics.from_arrays("x", statistics_of(first).to_arrays())
    back.update(second)
    assert_same(back, statistics_of(first, second))


def test_a_model_keeps_its_tensors_in_the_order_of_first_appearance():
    model = ModelStatistics()
    for name in ("b", "a", "b", "c"):
        model.update(name, np.array([1.0]))
    assert {name: item.count for name, item in model.tensors.items()} == {"b": 2, "a": 1, "c": 1}
    assert list(model.tensors) == ["b", "a", "c"]


def test_a_model_merges_tensor_by_tensor_and_leaves_the_other_alone():
    one, other = ModelStatistics(), ModelStatistics()
    one.update("a", np.array([1.0]))
    other.update("a", np.array([-5.0]))
    other.update("b", np.array([2.0]))
    one.merge(other)
    one.update("b", np.array([9.0]))
    assert list(one.tensors) == ["a", "b"]
    assert_same(one.tensors["a"], statistics_of(np.array([1.0, -5.0])))
    assert_same(one.tensors["b"], statistics_of(np.array([2.0, 9.0])))
    assert_same(other.tensors["b"], statistics_of(np.array([2.0])))


def test_a_model_starts_with_what_it_is_given_and_does_not_change_the_mapping():
    given_tensors = {"a": statistics_of(np.array([1.0]))}
    model = ModelStatistics(given_tensors)
    model.update("b", np.array([1.0]))
    assert list(given_tensors) == ["a"]
    assert list(model.tensors) == ["a", "b"]


def test_a_model_names_the_tensor_that_is_not_finite():
    message = (
        'The tensor "conv/out" has NaN or infinite values while the float model runs on calibration data. '
        "Check the calibration data's preprocessing, and that the float model itself works on it."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        ModelStatistics().update("conv/out", np.array([math.nan]))


def test_a_tensor_with_infinite_values_is_a_mask_and_has_no_statistics():
    one, other = ModelStatistics(), ModelStatistics()
    one.update("mask", np.array([0.0, 1.0]))
    other.update("mask", np.array([0.0, -math.inf]))
    other.update("mask", np.array([0.0, 1.0]))
    one.update("x", np.array([1.0]))
    one.merge(other)
    assert list(one.tensors) == ["x"]
    assert one.infinite == other.infinite == {"mask"}


@pytest.mark.parametrize(
    "names", [(), ("x",), ("graph/conv:0", "größe", "0.numbers")], ids=["none", "one", "odd names"]
)
def test_a_model_is_saved_and_loaded_exactly(tmp_path, names):
    model = ModelStatistics()
    for i, name in enumerate(names):
        model.update(name, np.array([i - 1.5, 10.0**i, 0.0]))
    path = tmp_path / "statistics.npz"
    model.save(path)
    back = ModelStatistics.load(path)
    assert list(back.tensors) == list(names)
    for name in names:
        assert back.tensors[name].name == name
        assert_same(back.tensors[name], model.tensors[name])
