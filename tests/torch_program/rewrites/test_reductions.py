"""Sums and means that convert what they read."""

from __future__ import annotations

import pytest
import torch

KINDS = {
    "mask": lambda x: (x > 0).sum(1, keepdim=True),
    "whole mask": lambda x: (x > 0).sum(),
    "to float": lambda x: x.to(torch.int32).sum(1, dtype=torch.float32),
    "mean of integers": lambda x: x.to(torch.int32).mean(1, dtype=torch.float32),
}


@pytest.mark.parametrize("reduction", KINDS.values(), ids=KINDS)
def test_what_is_reduced_is_converted_before(rewritten, reduction):
    found = rewritten(reduction, torch.randn(2, 6))
    assert found[-2:] in (["to", "sum"], ["to", "mean"], ["_to_copy", "sum"], ["_to_copy", "mean"])


def test_sums_of_floats_stay(rewritten):
    assert rewritten(lambda x: x.sum(1) + x.mean(), torch.randn(2, 6)) == ["sum", "mean", "add"]


@pytest.mark.parametrize("both", [torch.var_mean, torch.std_mean], ids=["variance", "deviation"])
@pytest.mark.parametrize(
    "settings", [{}, {"dim": -1}, {"dim": -1, "unbiased": False}, {"dim": (1, 2), "correction": 0, "keepdim": True}]
)
def test_a_deviation_with_its_mean_is_two_operators(rewritten, both, settings):
    found = rewritten(lambda x: both(x, **settings), torch.randn(1, 6, 8))
    assert not {"var_mean", "std_mean"} & set(found)
    assert "mean" in found
