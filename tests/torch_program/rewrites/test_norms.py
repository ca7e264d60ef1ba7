"""Norms become single operators."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module, run_module


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


@pytest.mark.parametrize(
    "norm",
    [
        nn.GroupNorm(2, 6),
        nn.GroupNorm(3, 6, affine=False),
        nn.InstanceNorm3d(6, affine=True),
        nn.InstanceNorm3d(6, track_running_stats=True),
    ],
    ids=["groups", "groups_without_weights", "channels", "kept_statistics"],
)
def test_norms_of_volumes_are_those_of_images(norm):
    for weight in norm.state_dict().values():
        if weight.is_floating_point():
            weight.uniform_(0.5, 1.5)
    example = torch.randn(1, 6, 3, 4, 5)
    norm.eval()
    program = canonical(export_module(norm, (example,), "net"), (example,), "net")
    [call] = [node for node in program.graph.nodes if "norm" in str(node.target)]
    assert call.args[0].meta["val"].dim() == 4
    [got] = run_module(program.module(), (example,), "net")
    torch.testing.assert_close(got, norm(example))
