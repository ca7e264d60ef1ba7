"""Padding that some format lacks is written with slices and numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv1d, (9,)), (nn.Conv2d, (9, 8)), (nn.Conv3d, (5, 6, 7))])
def test_same_padding_is_counted(rewritten, layer, shape, kernel):
    convolution = layer(4, 6, kernel, padding="same", dilation=2 if len(shape) < 3 else 1, groups=2)
    found = rewritten(convolution, torch.randn(1, 4, *shape))
    assert found == ["pad"] * (kernel == 4 and len(shape) == 3) + [f"conv{len(shape)}d"]


def test_valid_padding_is_none(rewritten):
    assert rewritten(nn.Conv1d(4, 6, 3, padding="valid"), torch.randn(1, 4, 9)) == ["conv1d"]


def test_circular_padding_joins_slices(rewritten):
    found = rewritten(lambda x: functional.pad(x, (2, 0, 1, 4), mode="circular"), torch.randn(1, 3, 6, 7))
    assert set(found) == {"narrow", "cat"}


@pytest.mark.parametrize("widths", [(-2, 3, 1, -1), (-1, -1), (0, 0, -2, -1)])
def test_negative_padding_cuts(rewritten, widths):
    found = rewritten(lambda x: functional.pad(x, widths, value=0.5), torch.randn(1, 3, 6, 7))
    assert "narrow" in found


def test_other_padding_stays_one_operator(rewritten):
    assert rewritten(lambda x: functional.pad(x, (1, 2), mode="reflect"), torch.randn(1, 3, 6)) == ["pad"]
    assert rewritten(lambda x: functional.pad(x, (1, 2)), torch.randn(1, 3, 6)) == ["pad"]
