"""Convolutions that a format holds in part only are written with those that it holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.torch_program.replace_operators import replace_operators
from edgekit.torch_program.rewrites.convolutions import in_planes, narrow_in_planes, plain_transposed

REWRITES = {"conv_transpose1d": plain_transposed, "conv_transpose2d": plain_transposed, "conv3d": in_planes}
TRANSPOSED = [
    pytest.param(nn.ConvTranspose2d(8, 8, 3, 2, padding=1, output_padding=1, groups=4), (9, 9), id="groups"),
    pytest.param(nn.ConvTranspose2d(8, 6, (4, 1), (2, 1), (1, 0), (1, 0)), (12, 1), id="one axis"),
    pytest.param(nn.ConvTranspose2d(8, 6, 3, 2, dilation=2), (9, 9), id="dilation"),
    pytest.param(nn.ConvTranspose2d(8, 6, 2, 3, output_padding=2, dilation=(1, 2)), (7, 5), id="beyond the end"),
    pytest.param(nn.ConvTranspose1d(8, 6, 4, 2, padding=1, output_padding=1, bias=False), (24,), id="1d"),
]


def rewrite(module, x, table=REWRITES):
    graph = torch.export.export(module.eval(), (x,)).module(check_guards=False)
    count = replace_operators(graph, table)
    torch.testing.assert_close(graph(x), module(x), rtol=1e-5, atol=1e-5)
    return count, [node for node in graph.graph.nodes if "conv" in str(node.target)]


@pytest.mark.parametrize(("module", "sizes"), TRANSPOSED)
def test_transposed_convolutions_need_neither_padding_nor_dilation(module, sizes):
    count, found = rewrite(module, torch.randn(1, 8, *sizes))
    assert count == 1
    assert all(len(node.args) <= 4 for node in found)  # input, weight, bias, stride


def test_a_plain_transposed_convolution_stays():
    assert rewrite(nn.ConvTranspose2d(8, 6, 4, 2, padding=1), torch.randn(1, 8, 9, 9))[0] == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_in_3d_is_a_sum_over_planes(groups):
    module = nn.Conv3d(4, 6, 3, (2, 1, 2), padding=1, groups=groups, dilation=(2, 1, 1))
    count, found = rewrite(module, torch.randn(1, 4, 9, 7, 8))
    assert (count, len(found)) == (1, 3)


@pytest.mark.parametrize(("groups", "expected"), [(1, 0), (2, 0), (4, 1)])
def test_a_convolution_in_3d_of_one_channel_a_group_can_be_written_in_planes_alone(groups, expected):
    module = nn.Conv3d(4, 4, 3, padding=1, groups=groups)
    assert rewrite(module, torch.randn(1, 4, 5, 6, 7), {"conv3d": narrow_in_planes})[0] == expected
