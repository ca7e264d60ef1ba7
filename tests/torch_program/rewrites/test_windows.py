"""Sliding windows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_windows_along_an_axis_are_a_choice_of_places(rewritten, axis):
    found = rewritten(lambda x: x.unfold(axis, 3, 2) * 2, torch.randn(1, 6, 9))
    assert "index_select" in found
    assert "unfold" not in found


@pytest.mark.parametrize(
    ("kernel", "settings"), [(3, {"padding": 1, "stride": 2}), ((2, 3), {}), (2, {"dilation": 2, "stride": (1, 3)})]
)
def test_windows_are_added_up_by_a_transposed_convolution(rewritten, kernel, settings):
    def fold(x):
        return functional.fold(functional.unfold(x, kernel, **settings), (9, 10), kernel, **settings)

    found = rewritten(fold, torch.randn(1, 3, 9, 10))
    assert "conv_transpose2d" in found
    assert "col2im" not in found
