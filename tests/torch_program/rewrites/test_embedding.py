"""Bags of embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_of_one_size_are_a_look_up(rewritten, mode):
    found = rewritten(nn.EmbeddingBag(10, 4, mode=mode), torch.tensor([[1, 3, 3], [0, 9, 2]]))
    assert "embedding" in found
    assert "embedding_bag" not in found


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 3}, {"include_last_offset": True}], ids=str)
def test_bags_of_any_sizes_are_a_look_up_by_members(rewritten, mode, options):
    ids = torch.tensor([1, 3, 3, 0, 9, 2, 3])
    offsets = torch.tensor([0, 2, 2, 6, 7] if options.get("include_last_offset") else [0, 2, 2, 6])
    found = rewritten(nn.EmbeddingBag(10, 4, mode=mode, **options), ids, offsets)
    assert not any("embedding_bag" in name for name in found)


def test_the_rows_of_a_bag_are_weighted(rewritten):
    ids, offsets, weights = torch.tensor([1, 3, 0, 9]), torch.tensor([0, 3]), torch.tensor([0.5, -1.0, 2.0, 0.1])
    found = rewritten(nn.EmbeddingBag(10, 4, mode="sum"), ids, offsets, weights)
    assert not any("embedding_bag" in name for name in found)
