from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.techniques import gptq

CASES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.sampled_from([2, 4, 8, 16]), st.integers(0, 2**32 - 1))


def problem(case):
    """Returns (weights, a second moment of correlated inputs)."""
    import torch

    groups, rows, width, seed = case
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(groups, rows, width, generator=generator, dtype=torch.float64)
    mixed = torch.randn(groups, width, width, generator=generator, dtype=torch.float64)
    return weights, mixed @ mixed.transpose(1, 2) + 0.05 * torch.eye(width, dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@given(CASES, st.sampled_from([127, 7]), st.booleans())
def test_every_method_stays_on_the_grid_and_keeps_the_largest_weight(case, high, grouped):
    weights, hessian = problem(case)
    width = weights.shape[2]
    group = width // 2 if grouped else width
    grid = gptq.make_grid(weights, high, group)
    nearest = gptq.nearest(weights, grid, weights)
    rounded = gptq.round_columns(weights, hessian, grid, weights)
    for integers in (nearest, rounded, gptq.descend(rounded, weights, hessian, grid, 3)):
        assert (integers == integers.round()).all()
        assert (integers.abs() <= high).all()
        largest = integers.reshape(*weights.shape[:2], -1, group).abs().amax(dim=-1)
        assert (largest == high).all()


@settings(deadline=None, max_examples=40)
@given(CASES, st.sampled_from([127, 7]))
def test_a_min_max_quantizer_finds_the_same_integers_in_baked_weights(case, high):
    weights, hessian = problem(case)
    grid = gptq.make_grid(weights, high, weights.shape[2])
    integers = gptq.round_columns(weights, hessian, grid, weights)
    baked = (integers * grid.scale).numpy().astype(np.float32)
    scale = np.abs(baked).max(axis=2, keepdims=True) / np.float32(high)
    np.testing.assert_array_equal(np.round(baked / scale), integers.numpy())


@settings(deadline=None, max_examples=40)
@given(CASES, st.sampled_from([127, 7]))
def test_descent_never_makes_it_worse(case, high):
    weights, hessian = problem(case)
    grid = gptq.make_grid(weights, high, weights.shape[2])
    start = gptq.nearest(weights, grid, weights)
    after = gptq.descend(start, weights, hessian, grid, 5)
    before_error = gptq.error_of(start, weights, hessian, grid)
    assert (gptq.error_of(after, weights, hessian, grid) <= before_error * (1 + 1e-9) + 1e-15).all()


def test_error_compensation_beats_rounding_to_nearest_on_correlated_inputs():
    weights, hessian = problem((2, 40, 16, 1))
    grid = gptq.make_grid(weights, 7, 16)
    nearest = gptq.error_of(gptq.nearest(weights, grid, weights), weights, hessian, grid).mean()
    rounded = gptq.round_columns(weights, hessian, grid, weights)
    compensated = gptq.error_of(rounded, weights, hessian, grid).mean()
    polished = gptq.error_of(gptq.descend(rounded, weights, hessian, grid, 5), weights, hessian, grid).mean()
    assert compensated < 0.7 * nearest
    assert polished <= compensated


def test_with_independent_inputs_nothing_beats_rounding_to_nearest():
    import torch

    weights, _ = problem((1, 6, 8, 2))
    grid = gptq.make_grid(weights, 127, 8)
    hessian = torch.diag_embed(torch.linspace(0.5, 2, 8, dtype=torch.float64)[None])
    integers = gptq.round_columns(weights, hessian, grid, weights)
    assert (integers == gptq.nearest(weights, grid, weights)).all()


def test_few_weights_are_rounded_as_well_as_by_trying_every_combination():
    import itertools

    import torch

    weights, hessian = problem((1, 8, 4, 3))
    grid = gptq.make_grid(weights, 7, 4)
    found = gptq.descend(gptq.round_columns(weights, hessian, grid, weights), weights, hessian, grid, 10)
    floors = torch.floor(weights / grid.scale)
    best = None
    for steps in itertools.product((-1, 0, 1, 2), repeat=4):
        tried = torch.clamp(floors + torch.tensor(steps, dtype=torch.float64), -7, 7)
        tried = torch.where(grid.pinned, torch.sign(weights) * 7, tried)
        error = gptq.error_of(tried, weights, hessian, grid)
        best = error if best is None else torch.minimum(best, error)
    assert best is not None
    assert float(gptq.error_of(found, weights, hessian, grid).sum()) <= 1.6 * float(best.sum())


def test_a_channel_of_zeros_stays_zero():
    import torch

    weights = torch.zeros(1, 2, 4, dtype=torch.float64)
    weights[0, 1] = torch.tensor([1.0, -2.0, 0.5, 0.25])
    grid = gptq.make_grid(weights, 127, 4)
    integers = gptq.round_columns(weights, torch.eye(4, dtype=torch.float64)[None], grid, weights)
    assert (integers[0, 0] == 0).all()
    assert integers[0, 1, 1] == -127


@pytest.mark.parametrize("factor", [1.0, 0.9, 0.5])
def test_a_shrunk_grid_clips_and_still_ends_at_the_largest_integer(factor):
    import torch

    weights, hessian = problem((1, 5, 16, 4))
    grid = gptq.make_grid(weights, 127, 16, torch.tensor(factor, dtype=torch.float64))
    integers = gptq.round_columns(weights, hessian, grid, weights)
    assert integers.abs().amax() == 127
    assert float(grid.scale.amax()) == pytest.approx(factor * float(weights.abs().amax()) / 127, rel=1e-6)
