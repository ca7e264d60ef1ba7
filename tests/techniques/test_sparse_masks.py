from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.techniques.sparse_masks import largest, largest_of_block, largest_of_row, refit


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.99))
def test_the_given_share_of_smallest_scores_goes(seed, share):
    scores = draw(seed, 1, 5, 12).abs()
    mask = largest(scores, share)
    assert int((~mask).sum()) == int(60 * share)
    assert not bool((~mask).any()) or float(scores[~mask].max()) <= float(scores[mask].min())


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.99))
def test_every_row_loses_the_same_number(seed, share):
    mask = largest_of_row(draw(seed, 2, 3, 8).abs(), share)
    assert (~mask).sum(dim=-1).unique().tolist() == [int(8 * share)]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), kept=st.integers(1, 3), taps=st.sampled_from([1, 9]))
def test_every_four_input_channels_keep_the_same_number_at_every_tap(seed, kept, taps):
    scores = draw(seed, 1, 3, 8 * taps).abs()
    mask = largest_of_block(scores, kept, 4, taps)
    blocks = mask.reshape(3, 2, 4, taps)
    assert blocks.sum(dim=2).unique().tolist() == [kept]
    assert float((scores * mask).sum()) >= float(scores.sum()) * kept / 4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.25, 0.5, 0.75]))
def test_the_fit_is_the_least_squares_solution_of_every_row(seed, share):
    inputs = draw(seed, 10, 40)
    hessian = (inputs @ inputs.t() / 40 + 0.01 * torch.eye(10, dtype=torch.float64))[None]
    target = draw(seed + 1, 1, 4, 10)
    mask = largest_of_row(draw(seed + 2, 1, 4, 10), share)
    found = refit(target, mask, hessian)
    for row in range(4):
        kept = mask[0, row].nonzero()[:, 0]
        exact = torch.zeros(10, dtype=torch.float64)
        exact[kept] = torch.linalg.solve(hessian[0][kept][:, kept], hessian[0][kept] @ target[0, row])
        least, got = ((item - target[0, row]) @ hessian[0] @ (item - target[0, row]) for item in (exact, found[0, row]))
        assert float(got) <= float(least) * (1 + 1e-6) + 1e-12
    assert bool((found[~mask] == 0).all())


@pytest.mark.parametrize("whole", [True, False], ids=["everything stays", "a row loses everything"])
def test_the_ends_are_exact(whole):
    hessian = torch.eye(3, dtype=torch.float64)[None]
    target = torch.tensor([[[1.0, -2.0, 3.0]]], dtype=torch.float64)
    mask = torch.full((1, 1, 3), whole)
    torch.testing.assert_close(refit(target, mask, hessian), target * whole)
