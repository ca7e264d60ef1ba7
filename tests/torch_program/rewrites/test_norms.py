"""Norms become single operators."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional


@pytest.mark.parametrize("norm", [nn.RMSNorm(16), nn.RMSNorm((6, 16), eps=1e-3, elementwise_affine=False)])
def test_rms_norm_is_written_out(rewritten, norm):
    assert "rms_norm" not in rewritten(norm, torch.randn(1, 6, 16))


def test_local_response_norm_pools_in_2d(rewritten):
    found = rewritten(nn.LocalResponseNorm(5, alpha=0.1), torch.randn(1, 8, 5, 6))
    assert "avg_pool2d" in found
    assert "avg_pool3d" not in found


def test_average_pooling_in_3d_is_done_in_planes_and_depth(rewritten):
    found = rewritten(lambda x: functional.avg_pool3d(x, (2, 3, 2), padding=(1, 1, 0)), torch.randn(1, 3, 6, 7, 8))
    assert found.count("avg_pool2d") == 2
