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


def test_the_largest_of_a_bag_stays(rewritten):
    assert "embedding_bag" in rewritten(nn.EmbeddingBag(10, 4, mode="max"), torch.tensor([[1, 3, 3]]))
