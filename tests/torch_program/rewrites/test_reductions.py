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
