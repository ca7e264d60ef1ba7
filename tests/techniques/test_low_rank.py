from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.techniques.low_rank import (
    Spectrum,
    factors,
    rank_by_energy,
    rank_by_share,
    share_ranks,
    spectrum,
)


def problem(seed, outputs=6, inputs=8):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(inputs, 50, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1, inputs)[:, None]
    return weight, x @ x.t() / 50, x


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 6))
def test_the_error_on_the_data_is_what_the_spectrum_says(seed, rank):
    weight, hessian, x = problem(seed)
    left, right = factors(weight, hessian, rank)
    found = spectrum(weight, hessian)
    error = float(((left @ right - weight) @ x).square().sum() / 50)
    assert error == pytest.approx(sum(found.squares[rank:]), rel=1e-6, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 5))
def test_no_product_of_the_rank_errs_less_on_the_data(seed, rank):
    weight, hessian, x = problem(seed)
    left, right = factors(weight, hessian, rank)
    plain_left, plain_right = factors(weight, torch.eye(8, dtype=torch.float64), rank)
    best = ((left @ right - weight) @ x).square().sum()
    assert float(best) <= float(((plain_left @ plain_right - weight) @ x).square().sum()) * (1 + 1e-9)


def test_both_factors_have_singular_values_of_like_size():
    weight, _, _ = problem(1)
    left, right = factors(weight, torch.eye(8, dtype=torch.float64), 4)
    torch.testing.assert_close(left.norm(dim=0), right.norm(dim=1))


FLAT = Spectrum(outputs=10, inputs=10, squares=(1.0,) * 10)
STEEP = Spectrum(outputs=10, inputs=10, squares=(90.0, 9.0, 0.9, 0.1, *(0.0,) * 6))


@pytest.mark.parametrize(
    ("found", "energy", "rank"),
    [(STEEP, 0.9, 1), (STEEP, 0.95, 2), (STEEP, 0.9999, 4), (FLAT, 0.4, 4), (FLAT, 0.5, None)],
    ids=["first", "two", "four", "just smaller", "would grow"],
)
def test_the_least_rank_that_keeps_the_energy_or_none_where_the_layer_would_grow(found, energy, rank):
    assert rank_by_energy(found, energy) == rank


@pytest.mark.parametrize(("keep", "rank"), [(0.1, None), (0.2, 1), (0.79, 3), (0.8, 4), (0.999, 4)])
def test_the_rank_of_a_share_of_the_weights(keep, rank):
    assert rank_by_share(FLAT, keep) == rank


@settings(deadline=None)
@given(keep=st.floats(0.25, 0.99), worth=st.floats(0.01, 100))
def test_shared_ranks_keep_to_the_budget(keep, worth):
    spectra = {"flat": FLAT, "steep": STEEP}
    ranks = share_ranks(spectra, {"flat": 1.0, "steep": worth}, keep)
    assert sum(spectra[name].weights(rank) for name, rank in ranks.items()) <= keep * 200


def test_the_layer_that_loses_nothing_gives_the_weights():
    assert share_ranks({"flat": FLAT, "steep": STEEP}, {"flat": 1.0, "steep": 1.0}, 0.7) == {"flat": None, "steep": 2}


def test_a_layer_whose_error_does_not_matter_gives_them_first():
    ranks = share_ranks({"a": FLAT, "b": FLAT}, {"a": 1.0, "b": 0.001}, 0.6)
    assert ranks["a"] is None
    assert ranks["b"] in (1, 2)
