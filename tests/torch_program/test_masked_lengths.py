"""Lengths that depend on values, with rows that do not count at other places on each call."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module, run_module

EDGES = torch.tensor([[0, 1, 2, 2, 3, 3], [1, 1, 0, 2, 2, 0]])
LOOPS = torch.tensor([[0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 0, 0]])
NO_LOOPS = torch.tensor([[0, 1, 2, 3, 1, 0], [1, 0, 3, 0, 2, 3]])


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def check(function, values, edges=EDGES):
    """Captures with some edges and compares with others too: all of them loops, and none."""
    module = Function(function).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = canonical(export_module(module, (values, edges), "net", lengths=True), (values, edges), "net")
        for given in (edges, LOOPS, NO_LOOPS):
            got, expected = (run_module(net, (values, given), "net") for net in (program.module(), module))
            torch.testing.assert_close(got, expected)
    return program


def kept(edges):
    return edges[:, edges[0] != edges[1]]


def test_chosen_rows_are_added_up_and_the_others_are_not():
    def added(x, edges):
        source, target = kept(edges)
        return torch.zeros(4, 3).index_add(0, target, x[source])

    check(added, torch.randn(4, 3))


def test_chosen_places_are_assigned_and_the_others_are_not():
    def loops(x, edges):
        mask = edges[0] == edges[1]
        found = torch.ones(4)
        found[edges[0][mask]] = x[mask]
        return found

    check(loops, torch.arange(6.0))


def test_chosen_rows_may_be_joined_with_others():
    def joined(x, edges):
        all_edges = torch.cat((kept(edges), torch.arange(4).expand(2, 4)), 1)
        total = torch.zeros(4).scatter_add(0, all_edges[1], torch.ones(all_edges.shape[1]))
        return total.rsqrt()[:, None] * x

    check(joined, torch.randn(4, 3))


@pytest.mark.parametrize("reduce", ["amax", "sum", "mean"])
def test_the_largest_sum_and_mean_of_each_group_know_of_chosen_rows_alone(reduce):
    def reduced(x, edges):
        source, target = kept(edges)
        places = target[:, None].expand(-1, 3)
        return torch.zeros(4, 3).scatter_reduce(0, places, x[source], reduce, include_self=True)

    check(reduced, torch.randn(4, 3))


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean, torch.amax, torch.amin])
def test_chosen_rows_are_reduced_to_one(reduce):
    def reduced(x, edges):
        return torch.nan_to_num(reduce(torch.cat((x[kept(edges)[0]], x[:1])), (0,)))

    check(reduced, torch.randn(4, 3))


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x, e: x[kept(e)[0]], id="returned"),
        pytest.param(lambda x, e: x[kept(e)[0]].cumsum(0).sum(0), id="rows that know of one another"),
        pytest.param(lambda x, e: x[kept(e)[0]].sum((0,)) / kept(e).shape[1], id="the length as a number"),
        pytest.param(lambda x, e: x[e][:, e[0] != e[1]].cumsum(1)[:, :1], id="the first chosen row"),
        pytest.param(lambda x, e: x.sum() + torch.full((1,), kept(e).shape[1]), id="the length as a value"),
        pytest.param(lambda x, e: x[torch.nonzero(x[:, 0] > 0)[:, 0]].sum((0,)), id="places of what is not 0"),
    ],
)
def test_what_depends_on_where_a_row_stands_is_refused(function):
    with pytest.raises(ModelError, match="depends on the values of a tensor"):
        check(function, torch.randn(4, 3))
