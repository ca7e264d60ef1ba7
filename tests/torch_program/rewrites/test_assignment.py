"""Assignments to parts of a tensor."""

from __future__ import annotations

import pytest
import torch


def slices(x):
    y = x.clone()
    y[:, 1:3] = x[:, 2:4] * 2
    y[:, :, 0] = 0.5
    y[..., -2:] *= 3
    return y


def steps(x):
    y = torch.zeros_like(x)
    y[:, 0::2] = x[:, 1::2]
    y[:, 1::2] = -x[:, 0::2]
    return y


def powers(x):
    y = x.abs() + 1
    y.pow_(-0.5)
    z = y + 1
    z.pow_(y)
    return z.masked_fill_(z == 1, 0)


def inner(x):
    y = x * 1
    y[:, 1:3, 2] = x[:, :2, 0]
    y[:, 0][:, 1].zero_()
    return y, y.sum()


def masked(x):
    y = x * 2
    y[y < 0] = -1.0
    return y


def rows(x):
    y = x * 1
    y[:, torch.tensor([1, -1])] = x[:, :2] + 1
    return y


def masked_channels(x):
    y = x * 1
    y[:, torch.tensor([True, False, True, False])] = 0.25
    return y


@pytest.mark.parametrize("function", [slices, steps, inner])
def test_slices_are_joined_again(rewritten, function):
    found = rewritten(function, torch.randn(1, 4, 6))
    assert not [name for name in found if name.endswith("_") or "scatter" in name]


@pytest.mark.parametrize(
    ("function", "used"),
    [(masked, "where"), (masked_channels, "where"), (rows, "scatter")],
    ids=["values", "channels", "rows"],
)
def test_indices_become_choices_and_scatters(rewritten, function, used):
    found = rewritten(function, torch.randn(1, 4, 6))
    assert used in found
    assert "index_put" not in found


def test_additions_at_places_are_a_scatter(rewritten):
    places = torch.tensor([0, 1, 1, 3])
    found = rewritten(lambda x: torch.zeros(1, 5, 6).index_add(1, places, x, alpha=2), torch.randn(1, 4, 6))
    assert "scatter_add" in found


def test_a_view_that_is_read_after_the_change_keeps_it_in_place(rewritten):
    def seen(x):
        y = x * 1
        first = y[:, 0]
        y[:, 0:2] = 7.0
        return first + 1

    assert "fill_" in rewritten(seen, torch.randn(1, 4, 6))


@pytest.mark.parametrize(
    "empty",
    [
        pytest.param(torch.empty_like, id="alike"),
        pytest.param(lambda x: x.new_empty(x.shape), id="new"),
        pytest.param(lambda x: torch.empty(6, dtype=torch.int64), id="of a size"),
        pytest.param(lambda x: torch.empty_permuted((6,), (0,), dtype=torch.int64), id="permuted"),
    ],
)
def test_memory_without_values_that_is_then_written_is_none(rewritten, empty):
    def inverse(places):
        found = empty(places)
        found[places] = torch.arange(6)
        return found

    assert not [name for name in rewritten(inverse, torch.randperm(6)) if "empty" in name]


@pytest.mark.parametrize("reduce", ["amax", "amin", "sum", "mean"])
@pytest.mark.parametrize("own", [True, False])
def test_what_goes_to_each_place_is_reduced_by_comparing_places(rewritten, reduce, own):
    places = torch.tensor([[0, 1, 4], [0, 0, 4], [3, 1, 4], [0, 4, 4]])

    def reduced(x, values, places):
        return x.scatter_reduce(0, places, values, reduce, include_self=own)

    assert "scatter_reduce" not in rewritten(reduced, torch.randn(5, 3), torch.randn(4, 3), places)


def test_products_at_places_are_left_to_the_formats(rewritten):
    places = torch.zeros(4, 3, dtype=torch.int64)
    found = rewritten(lambda x, v, p: x.scatter_reduce(0, p, v, "prod"), torch.randn(5, 3), torch.randn(4, 3), places)
    assert "scatter_reduce" in found


def test_powers_in_place_are_powers(rewritten):
    assert not [name for name in rewritten(powers, torch.randn(2, 3)) if name.endswith("_")]
