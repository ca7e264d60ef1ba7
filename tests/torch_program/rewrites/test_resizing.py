"""Resizing that some format lacks is written with fixed weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

X = torch.randn(1, 3, 12, 10)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_by_a_whole_factor_is_a_convolution_for_each_axis(rewritten, factor):
    found = rewritten(lambda x: functional.interpolate(x, scale_factor=factor, mode="bicubic"), X)
    assert found.count("conv2d") == 2
    assert "upsample_bicubic2d" not in found


@pytest.mark.parametrize("size", [(17, 9), (24, 10), (5, 7), (12, 10)])
@pytest.mark.parametrize("corners", [True, False])
def test_other_bicubic_resizing_is_two_products(rewritten, size, corners):
    found = rewritten(lambda x: functional.interpolate(x, size, mode="bicubic", align_corners=corners), X)
    assert found.count("matmul") == 2


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("settings", [{"size": (7, 4)}, {"scale_factor": (0.5, 0.3)}])
def test_antialiased_resizing_is_two_products(rewritten, mode, settings):
    found = rewritten(lambda x: functional.interpolate(x, mode=mode, antialias=True, **settings), X)
    assert found.count("matmul") == 2


@pytest.mark.parametrize("size", [(17, 9), (5, 20)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_resizing_by_no_whole_factor_chooses_rows_and_columns(rewritten, mode, size):
    assert rewritten(lambda x: functional.interpolate(x, size, mode=mode), X) == ["index_select"] * 2


def test_nearest_resizing_in_1d_chooses_places(rewritten):
    found = rewritten(lambda x: functional.interpolate(x, 17, mode="nearest"), torch.randn(1, 3, 12))
    assert found == ["index_select"]


def test_nearest_by_a_whole_factor_stays(rewritten):
    assert rewritten(lambda x: functional.interpolate(x, scale_factor=2), X) == ["upsample_nearest2d"]
