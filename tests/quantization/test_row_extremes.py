import numpy as np
import pytest

from edgekit.quantization.pt2e_ranges import observer_of
from edgekit.quantization.ranges import choose_range
from edgekit.quantization.row_extremes import RowExtremes
from edgekit.quantization.statistics import TensorStatistics


def statistics_of(rows):
    made = TensorStatistics("x")
    for row in rows:
        made.update(row)
    return made


def rows_of(count, size, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def clipped_share(found, values):
    """Returns the energy of what a range cuts off over that of all values."""
    error = values - np.clip(values, found.low, found.high)
    return float((error**2).sum() / (values**2).sum())


def test_a_range_from_few_values_holds_the_rows_to_come():
    found = choose_range(statistics_of(rows_of(16, 6)), "minmax")
    coming = rows_of(10_000, 6, seed=1)
    assert clipped_share(found, coming) < 1e-5
    assert found.high - found.low < 3 * (rows_of(16, 6).max() - rows_of(16, 6).min())


def test_headroom_lessens_the_error_of_rows_to_come():
    rows, coming = rows_of(16, 6), rows_of(10_000, 6, seed=1)
    found = choose_range(statistics_of(rows), "minmax")

    def error(low, high):
        step = (high - low) / 255
        return float(((coming - np.clip(np.round(coming / step) * step, low, high)) ** 2).mean())

    assert error(found.low, found.high) < 0.1 * error(rows.min(), rows.max())


def test_many_values_need_no_headroom():
    rows = rows_of(16, 50_000)
    found = choose_range(statistics_of(rows), "minmax")
    assert (found.low, found.high) == (rows.min(), rows.max())


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(rows_of(1, 6), id="one row says nothing about the next"),
        pytest.param(np.tile(rows_of(1, 6), (16, 1)), id="every row is the same"),
        pytest.param(np.clip(10 * rows_of(16, 50), -1, 1), id="every row reaches the bounds of a clamp"),
    ],
)
def test_no_headroom_where_rows_do_not_differ(rows):
    found = choose_range(statistics_of(rows), "minmax")
    assert (found.low, found.high) == (rows.min(), rows.max())


def test_a_side_without_values_gets_no_headroom():
    found = choose_range(statistics_of(np.maximum(rows_of(16, 6), 0)), "minmax")
    assert found.low == 0
    assert found.high > rows_of(16, 6).max()


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_the_other_methods_cover_what_was_seen_at_most(method):
    rows = rows_of(16, 6)
    found = choose_range(statistics_of(rows), method)
    assert rows.min() <= found.low
    assert found.high <= rows.max()


def test_graphs_in_torch_and_files_get_the_same_range():
    import torch

    bounds = observer_of("x", "minmax", (), None)
    for row in rows_of(16, 6):
        bounds.update(torch.from_numpy(row))
    assert bounds.range() == choose_range(statistics_of(rows_of(16, 6)), "minmax")


def test_rows_that_were_seen_apart_are_merged():
    whole, one, other = RowExtremes(), RowExtremes(), RowExtremes()
    for index, row in enumerate(rows_of(16, 6).astype(float)):
        whole.update(row.min(), row.max())
        (one if index < 5 else other).update(row.min(), row.max())
    one.merge(RowExtremes.from_numbers(other.to_numbers()))
    assert one.headroom(-2, 2, 96) == pytest.approx(whole.headroom(-2, 2, 96))
    assert one.rows == whole.rows == 16
