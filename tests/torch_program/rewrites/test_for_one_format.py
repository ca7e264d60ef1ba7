"""Rewrites that a converter applies because its format lacks an operator in part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.torch_program.replace_operators import replace_operators
from edgekit.torch_program.rewrites.assignment import scatter_add, scatter_integers
from edgekit.torch_program.rewrites.elementwise import mish, prelu_of_vectors, softplus
from edgekit.torch_program.rewrites.ordering import topk_by_places
from edgekit.torch_program.rewrites.reductions import keeping_axes, values_keeping_axes


class Add(nn.Module):
    def forward(self, x, places):
        return torch.ones(1, 5, 3).scatter_add(1, places, x)


class Largest(nn.Module):
    def __init__(self, *, places: bool) -> None:
        super().__init__()
        self.places = places

    def forward(self, x):
        values, places = x.topk(3, -1)
        return (values, places) if self.places else values


def rewrite(module, *inputs, table):
    graph = torch.export.export(module.eval(), inputs).module(check_guards=False)
    count = replace_operators(graph, table)
    torch.testing.assert_close(graph(*inputs), module(*inputs))
    return count


@pytest.mark.parametrize("axes", [(2, 3), (-1,), ()])
def test_largest_values_keep_their_axes_until_afterwards(axes):
    class Peak(nn.Module):
        def forward(self, x):
            return x.amax(axes)

    assert rewrite(Peak(), torch.randn(1, 3, 4, 5), table={"amax": keeping_axes}) == 1


@pytest.mark.parametrize("keepdim", [False, True])
def test_largest_values_along_an_axis_keep_it_where_nobody_reads_their_places(keepdim):
    class Peak(nn.Module):
        def forward(self, x):
            return x.max(1, keepdim=keepdim)[0]

    assert rewrite(Peak(), torch.randn(1, 3, 4, 5), table={"max": values_keeping_axes}) == 1


def test_largest_values_whose_places_are_read_or_of_two_tensors_are_left():
    class Peaks(nn.Module):
        def forward(self, x):
            values, places = x.max(1)
            return torch.max(values, values + 1), places

    assert rewrite(Peaks(), torch.randn(1, 3, 4, 5), table={"max": values_keeping_axes}) == 0


def test_largest_values_that_keep_their_axes_are_left():
    class Peak(nn.Module):
        def forward(self, x):
            return x.amax((2, 3), keepdim=True)

    assert rewrite(Peak(), torch.randn(1, 3, 4, 5), table={"amax": keeping_axes}) == 0


def test_additions_at_places_are_compared_with_all_places():
    places = torch.tensor([[[0, 1, 4], [0, 0, 2], [3, 1, 4], [0, 4, 4]]])
    assert rewrite(Add(), torch.randn(1, 4, 3), places, table={"scatter_add": scatter_add}) == 1


def test_integers_are_put_at_places_by_comparing_places():
    class Put(nn.Module):
        def forward(self, x, places):
            return torch.full((6, 2), 9, dtype=x.dtype).scatter(0, places, x)

    places, x = torch.tensor([[5, 0], [1, 1], [0, 3], [1, 4]]), torch.arange(8).view(4, 2)
    assert rewrite(Put(), x, places, table={"scatter.src": scatter_integers}) == 1
    assert rewrite(Put(), x.float(), places, table={"scatter.src": scatter_integers}) == 0


def test_the_largest_are_read_at_their_places_unless_these_are_read_too():
    x = torch.randn(1, 4, 7)
    assert rewrite(Largest(places=False), x, table={"topk": topk_by_places}) == 1
    assert rewrite(Largest(places=True), x, table={"topk": topk_by_places}) == 0


def test_softplus_and_mish_are_written_with_logarithms():
    class Soft(nn.Module):
        def forward(self, x):
            soft = nn.functional.softplus
            return nn.functional.mish(x) + soft(x, beta=2.0) + soft(x, threshold=3.0)

    x = torch.tensor([[-90.0, -3.0, 0.0, 0.2, 8.0, 15.0, 70.0]])
    assert rewrite(Soft(), x, table={"mish": mish, "softplus": softplus}) == 2  # a low threshold is a step


@pytest.mark.parametrize(
    ("shape", "weights", "count"),
    [
        pytest.param((2, 5), 5, 1, id="vectors"),
        pytest.param((2, 5), 1, 1, id="one-weight"),
        pytest.param((2, 5, 7), 5, 1, id="sequences"),
        pytest.param((7,), 1, 1, id="one-axis"),
        pytest.param((2, 5, 3, 4), 5, 0, id="pictures"),
    ],
)
def test_prelu_of_what_is_no_picture_is_written_with_two_relus(shape, weights, count):
    layer = nn.PReLU(weights)
    layer.weight.data.uniform_(-0.5, 0.5)
    assert rewrite(layer, torch.randn(shape), table={"prelu": prelu_of_vectors}) == count
