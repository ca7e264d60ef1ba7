"""Orders and places among boundaries."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("descending", [True, False])
def test_sorting_is_a_choice_of_the_largest(rewritten, descending):
    x = torch.randperm(24).float().view(1, 4, 6)
    found = rewritten(lambda x: x.sort(1, descending=descending), x)
    assert "sort" not in found
    assert "topk" in found
    assert "topk" in rewritten(lambda x: x.argsort(-1, descending=descending), x)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32])
def test_sorting_that_keeps_the_order_of_equal_elements_is_done_by_ranks(rewritten, dtype, descending):
    x = torch.tensor([[3, 0, 3, 1, 0, 7, 3], [1, 1, 1, 0, 2, 2, 0]]).to(dtype)
    found = rewritten(lambda x: torch.sort(x, dim=-1, descending=descending, stable=True), x)
    assert "sort" not in found
    assert "topk" not in found


def test_integers_are_sorted_by_ranks_along_any_axis(rewritten):
    x = torch.randperm(24).view(1, 6, 4)
    assert "sort" not in rewritten(lambda x: torch.sort(x, 1), x)
    assert "argsort" not in rewritten(lambda x: torch.argsort(x, 1), x)


def test_a_long_line_of_integers_is_left_to_the_formats(rewritten):
    assert "sort" in rewritten(lambda x: torch.sort(x)[0], torch.randperm(2000)[None])


def test_the_smallest_are_the_largest_of_the_negated(rewritten):
    assert rewritten(lambda x: x.topk(3, 1, largest=False), torch.randn(1, 6)) == ["neg", "topk", "neg"]


def test_the_largest_are_found_along_the_last_axis(rewritten):
    found = rewritten(lambda x: x.topk(3, 1), torch.randn(1, 6, 4))
    assert found == ["transpose", "topk", "transpose", "transpose"]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("int32", [True, False])
def test_places_among_boundaries_are_counted(rewritten, right, int32):
    bounds = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    found = rewritten(
        lambda x: torch.bucketize(x, bounds, right=right, out_int32=int32), torch.tensor([[-2.0, -1.0, 0.2, 0.5, 9.0]])
    )
    assert "bucketize" not in found


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("kept", [False, True])
def test_medians_and_ranked_values_are_the_last_of_the_smallest(rewritten, axis, kept):
    x = torch.randn(1, 6, 5)
    assert "median" not in rewritten(lambda x: tuple(torch.median(x, axis, kept)), x)
    assert "kthvalue" not in rewritten(lambda x: tuple(torch.kthvalue(x, 2, axis, kept)), x)
