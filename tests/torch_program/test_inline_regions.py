"""Graphs inside a graph: branches of torch.cond."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgekit.torch_program.inline_regions import inline_regions
from edgekit.torch_program.trace_module import export_module

LOW = torch.full((1, 3), -1.0)
HIGH = torch.full((1, 3), 2.0)


class Weighted(nn.Module):
    """Each side has weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.high = nn.Linear(3, 3)
        self.low = nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        return torch.cond(x.mean() > 0, lambda a: self.high(a).relu(), lambda a: self.low(a).tanh(), (x,))


class Several(nn.Module):
    """Two results, of which one is a single number."""

    def forward(self, x: Any) -> Any:
        both = torch.cond(x.sum().reshape(1) > 0, lambda a: (a + 1, a.sum()), lambda a: (a * 2, a.mean()), (x,))
        return both[0] * 3, both[1]


class Nested(nn.Module):
    def forward(self, x: Any) -> Any:
        def deeper(a: Any) -> Any:
            return torch.cond(a.max() > 3, lambda b: b - 3, lambda b: b / 2, (a,))

        return torch.cond(x.sum() > 0, deeper, lambda a: a.exp(), (x,))


class BehindNoGrad(nn.Module):
    def forward(self, x: Any) -> Any:
        def quietly(a: Any) -> Any:
            with torch.no_grad():
                return a + 1

        return torch.cond(x.sum() > 0, quietly, lambda a: a * 0.0, (x,))


class GuardsADivision(nn.Module):
    """The side that is not taken gives infinity, which must not come through."""

    def forward(self, x: Any) -> Any:
        return torch.cond((x > 0).all(), lambda a: 1 / a, lambda a: a - a, (x,))


@pytest.mark.parametrize("network", [Weighted, Several, Nested, BehindNoGrad, GuardsADivision])
def test_both_sides_are_computed_and_the_condition_chooses(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = network().eval()
    graph_module = export_module(module, (LOW,), "net").module(check_guards=False)
    assert inline_regions(graph_module) >= 1
    assert not [node for node in graph_module.graph.nodes if "cond" in str(node.target)]
    for x in (LOW, HIGH, HIGH * 2, torch.zeros(1, 3)):
        torch.testing.assert_close(graph_module(x), module(x), rtol=0, atol=0)
