"""Splits and joins that compute nothing."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize(
    "split",
    [lambda x: x.chunk(1, 0), lambda x: x.split(6, 1), lambda x: x.split([6], 1), lambda x: x.tensor_split(1, 1)],
    ids=["chunk", "split", "sizes", "tensor_split"],
)
def test_a_split_into_one_part_is_left_out(rewritten, split):
    assert rewritten(lambda x: split(x + 1)[0] * 2, torch.randn(1, 6)) == ["add", "mul"]


def test_a_join_of_one_tensor_is_left_out(rewritten):
    assert rewritten(lambda x: torch.cat([x + 1], 1) * 2, torch.randn(1, 6)) == ["add", "mul"]


def test_splits_and_joins_of_two_stay(rewritten):
    found = rewritten(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), torch.randn(1, 6))
    assert found == ["chunk", "cat"]
