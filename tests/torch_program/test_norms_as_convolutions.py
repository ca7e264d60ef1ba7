"""Batch norms that follow no layer, as depthwise convolutions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgekit.torch_program.graph_nodes import operator_name  # noqa: E402
from edgekit.torch_program.norms_as_convolutions import make_norms_convolutions  # noqa: E402


def norm_of(module):
    """A batch norm in eval mode with statistics and weights that differ by channel."""
    torch.manual_seed(0)
    for name in ("running_mean", "weight", "bias"):
        getattr(module, name).data.normal_()
    module.running_var.data.uniform_(0.1, 3)
    return module.eval()


@pytest.mark.parametrize(
    ("norm", "shape", "kind"),
    [
        (torch.nn.BatchNorm1d(4), (1, 4, 9), "conv1d"),
        (torch.nn.BatchNorm2d(4), (1, 4, 5, 6), "conv2d"),
        (torch.nn.BatchNorm2d(4, affine=True, eps=0.1), (1, 4, 1, 1), "conv2d"),
    ],
)
def test_a_norm_over_places_becomes_a_convolution_of_the_same_values(norm, shape, kind):
    net, x = torch.nn.Sequential(torch.nn.ReLU(), norm_of(norm)).eval(), torch.randn(shape)
    module = torch.export.export(net, (x,)).module()
    assert make_norms_convolutions(module) == 1
    assert [operator_name(node) for node in module.graph.nodes if operator_name(node)][-1] == kind
    torch.testing.assert_close(module(x), net(x))


@pytest.mark.parametrize(
    ("norm", "shape"), [(torch.nn.BatchNorm1d(4), (1, 4)), (torch.nn.BatchNorm3d(4), (1, 4, 2, 3, 3))]
)
def test_norms_over_no_place_and_over_volumes_stay(norm, shape):
    x = torch.randn(shape)
    module = torch.export.export(norm_of(norm), (x,)).module()
    assert make_norms_convolutions(module) == 0
    torch.testing.assert_close(module(x), norm(x))
