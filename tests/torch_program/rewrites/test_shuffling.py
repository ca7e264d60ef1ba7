"""Channels and axes in another order."""

from __future__ import annotations

import torch
from torch.nn import functional


def test_a_shuffle_of_channels_is_a_transposition(rewritten):
    found = rewritten(lambda x: functional.channel_shuffle(x, 2), torch.randn(1, 8, 3, 4))
    assert found == ["reshape", "transpose", "reshape"]


def test_axes_are_turned_one_after_the_other(rewritten):
    assert rewritten(lambda x: x.flip((1, 3)), torch.randn(1, 8, 3, 4)) == ["flip", "flip"]


def test_one_hot_compares_with_all_classes(rewritten):
    assert "one_hot" not in rewritten(lambda x: functional.one_hot(x, 5), torch.tensor([[0, 4, 2]]))


def test_a_turn_without_axes_is_one_of_all_elements(rewritten):
    assert "reshape" in rewritten(lambda x: x.roll(5), torch.randn(1, 3, 4))
    assert "reshape" not in rewritten(lambda x: x.roll((1, -1), (1, 2)), torch.randn(1, 3, 4))
