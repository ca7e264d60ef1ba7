"""Pooling that some format lacks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module, run_module


def test_adaptive_maxima_are_maxima_of_slices(rewritten):
    found = rewritten(lambda x: functional.adaptive_max_pool2d(x, (5, 7)), torch.randn(1, 3, 12, 11))
    assert set(found) == {"narrow", "amax", "cat"}
    assert "amax" in rewritten(lambda x: functional.adaptive_max_pool1d(x, 4), torch.randn(1, 3, 11))


@pytest.mark.parametrize("bins", [1, (2, 3, 1)])
def test_adaptive_pools_of_volumes_reduce_slices(rewritten, bins):
    example = torch.randn(1, 3, 5, 7, 4)
    assert "adaptive_avg_pool3d" not in rewritten(lambda x: functional.adaptive_avg_pool3d(x, bins), example)
    assert "adaptive_max_pool3d" not in rewritten(lambda x: functional.adaptive_max_pool3d(x, bins), example)


def test_maxima_go_back_to_their_places_by_a_scatter(rewritten):
    def unpool(x):
        return functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2)

    found = rewritten(unpool, torch.randn(1, 3, 8, 6))
    assert "scatter" in found
    assert not {"max_unpool2d", "max_pool2d_with_indices"} & set(found)


@pytest.mark.parametrize("settings", [{}, {"stride": 1}, {"stride": 2, "padding": 1}])
def test_places_of_maxima_are_those_in_the_image(rewritten, settings):
    found = rewritten(lambda x: functional.max_pool2d(x, 3, return_indices=True, **settings), torch.randn(1, 3, 9, 8))
    assert "max_pool2d_with_indices" not in found


def test_adaptive_maxima_whose_places_are_read_stay(rewritten):
    found = rewritten(
        lambda x: functional.adaptive_max_pool2d(x, (5, 7), return_indices=True), torch.randn(1, 3, 12, 9)
    )
    assert "adaptive_max_pool2d" in found


@pytest.mark.parametrize("name", ["max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"])
def test_a_stride_that_was_left_out_is_written(name):
    pool, example = getattr(functional, name), torch.randn((1, 3, 8, 6, 4)[: 2 + int(name[-2])])
    module = Pool(pool)
    program = canonical(export_module(module, (example,), "net"), (example,), "net")
    [call] = [node for node in program.graph.nodes if name in str(node.target)]
    assert call.args[2] == call.args[1]
    [got] = run_module(program.module(), (example,), "net")
    assert torch.equal(got, pool(example, 2))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": (3, 1, 2), "stride": (1, 2, 2), "padding": (1, 0, 1)},
        {"kernel_size": 2, "dilation": (2, 1, 3), "stride": 1},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    ],
    ids=["plain", "uneven", "dilated", "ceiling"],
)
def test_maxima_in_3d_are_taken_in_planes_and_depth(rewritten, settings):
    found = rewritten(lambda x: functional.max_pool3d(x, **settings), torch.randn(1, 3, 6, 8, 9))
    assert found.count("max_pool2d") == 2
    assert "max_pool3d" not in found


def test_maxima_of_a_volume_without_a_batch_keep_their_operator(rewritten):
    assert "max_pool3d" in rewritten(lambda x: functional.max_pool3d(x, 2), torch.randn(3, 4, 6, 8))


class Pool(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x, 2)
