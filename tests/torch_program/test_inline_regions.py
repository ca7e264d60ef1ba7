"""Graphs inside a graph: branches of torch.cond."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim

from edgekit.errors import ModelError
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


class BySize(nn.Module):
    """Long inputs go one way, short ones another."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Any) -> Any:
        return torch.cond(x.shape[1] > self.bound, lambda a: a.relu(), lambda a: a.tanh(), (x,))


@pytest.mark.parametrize(("bound", "kept"), [(4, "relu"), (64, "tanh")])
def test_a_side_that_every_open_size_takes_is_the_only_one(bound: int, kept: str) -> None:
    module, sizes = BySize(bound), [{1: Dim("length", min=8, max=32)}]
    graph_module = export_module(module, (torch.randn(1, 24),), "net", sizes).module(check_guards=False)
    assert inline_regions(graph_module) == 1
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_function"]
    assert [name for name in called if "sym" not in name and "_guards" not in name] == [f"aten.{kept}.default"]
    for length in (8, 24, 32):
        x = torch.randn(1, length)
        torch.testing.assert_close(graph_module(x), module(x), rtol=0, atol=0)


def test_sides_that_both_occur_among_the_open_sizes_are_refused_with_their_line() -> None:
    sizes = [{1: Dim("length", min=8, max=32)}]
    with pytest.raises(ModelError) as caught:
        export_module(BySize(16), (torch.randn(1, 24),), "net", sizes)
    assert re.fullmatch(
        r"net: torch\.cond chooses by the size of an input, at \S+test_inline_regions\.py:\d+: return torch\.cond\(.+\)"
        r", and sizes on both sides are allowed\. No format chooses by a size: bound the dimension so that one side is "
        r"always taken, fix the size, or compute the condition from a tensor\.",
        caught.value.message,
    )
