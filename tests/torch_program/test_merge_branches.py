"""Branches that are added are one convolution, and it computes what they computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgekit.torch_program.fold_batch_norm import fold_batch_norms
from edgekit.torch_program.graph_nodes import operator_name
from edgekit.torch_program.merge_branches import merge_branches


def depthwise(size: int = 3, **more: Any) -> nn.Conv2d:
    step = more.get("dilation", 1)
    return nn.Conv2d(6, 6, size, padding=step * (size // 2), groups=6, **more)


class Sum(nn.Module):
    """Adds branches of its input; `subtract` takes the last one away."""

    def __init__(self, *branches: nn.Module, subtract: bool = False) -> None:
        super().__init__()
        self.branches, self.subtract = nn.ModuleList(branches), subtract

    def forward(self, x: Any) -> Any:
        *first, last = [branch(x) for branch in self.branches]
        return sum(first[1:], first[0]) - last if self.subtract else sum(first[1:], first[0]) + last


class Scale(nn.Module):
    def __init__(self, inner: nn.Module, shape: tuple[int, ...] = (6, 1, 1)) -> None:
        super().__init__()
        self.inner, self.gamma = inner, nn.Parameter(torch.randn(shape))

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.gamma


def opened(module: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return torch.export.export(module, (x,), strict=False).module(check_guards=False)


def settled(module: nn.Module) -> nn.Module:
    """Gives batch norms statistics unlike 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.3, 3.0, generator=generator)
            part.weight.data.normal_(generator=generator)
    return module.eval()


def layers(graph_module: Any) -> list[str]:
    return [operator_name(node) for node in graph_module.graph.nodes if node.op == "call_function"]


MERGED = {
    "two-kernels": lambda: Sum(depthwise(3), depthwise(1)),
    "the-smaller-one-first": lambda: Sum(depthwise(1), depthwise(5)),
    "with-the-tensor-itself": lambda: Sum(depthwise(3, bias=False), nn.Identity()),
    "repvgg": lambda: Sum(depthwise(3), depthwise(1), nn.Identity()),
    "mobileone": lambda: Sum(
        nn.BatchNorm2d(6), nn.Sequential(depthwise(1, bias=False), nn.BatchNorm2d(6)), depthwise(3), depthwise(3)
    ),
    "fastvit": lambda: Sum(nn.Identity(), Scale(Sum(depthwise(3), nn.BatchNorm2d(6), subtract=True))),
    "with-strides": lambda: Sum(depthwise(3, stride=2), depthwise(1, stride=2)),
    "with-dilation": lambda: Sum(depthwise(3, dilation=2), depthwise(1), nn.Identity()),
}


@pytest.mark.parametrize("name", MERGED)
def test_depthwise_branches_become_one_convolution(name: str) -> None:
    torch.manual_seed(0)
    module, x = settled(MERGED[name]()), torch.randn(2, 6, 9, 8)
    graph_module = opened(module, x)
    fold_batch_norms(graph_module)
    assert merge_branches(graph_module) >= 1
    assert layers(graph_module) == ["conv2d"]
    with torch.no_grad():
        torch.testing.assert_close(graph_module(x), module(x), rtol=1e-5, atol=1e-5)


def test_a_batch_norm_of_the_sum_can_be_folded_afterwards() -> None:
    torch.manual_seed(0)
    module = settled(nn.Sequential(Sum(depthwise(3), depthwise(1), nn.Identity()), nn.BatchNorm2d(6)))
    x = torch.randn(1, 6, 9, 9)
    graph_module = opened(module, x)
    assert merge_branches(graph_module) == 2
    assert fold_batch_norms(graph_module) == 1
    assert layers(graph_module) == ["conv2d"]
    with torch.no_grad():
        torch.testing.assert_close(graph_module(x), module(x), rtol=1e-5, atol=1e-5)


def test_branches_in_one_dimension_are_merged_too() -> None:
    torch.manual_seed(0)
    module = Sum(nn.Conv1d(4, 4, 5, padding=2, groups=4), nn.Conv1d(4, 4, 1, groups=4), nn.Identity())
    x = torch.randn(1, 4, 11)
    graph_module = opened(module, x)
    assert merge_branches(graph_module) == 2
    with torch.no_grad():
        torch.testing.assert_close(graph_module(x), module(x), rtol=1e-5, atol=1e-5)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = depthwise(3)

    def forward(self, x: Any) -> Any:
        return self.layer(x) + self.layer(x.relu())


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = depthwise(3)

    def forward(self, x: Any) -> Any:
        made = self.layer(x)
        return made + x, made


class OfAnother(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = depthwise(3)

    def forward(self, x: Any) -> Any:
        return self.layer(x.relu()) + x


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Sum(nn.Conv2d(6, 6, 3, padding=1), nn.Identity()), id="dense"),
        pytest.param(Sum(nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.Identity()), id="grouped"),
        pytest.param(Sum(depthwise(3, dilation=2), depthwise(3)), id="dilations-that-differ"),
        pytest.param(Sum(nn.BatchNorm2d(6), nn.Identity()), id="no-convolution"),
        pytest.param(Sum(nn.Conv2d(6, 6, 2, padding=1, groups=6), depthwise(2)), id="even-sizes"),
        pytest.param(Sum(depthwise(3), nn.Sequential(nn.ReLU(), depthwise(1))), id="of-another-tensor"),
        pytest.param(Sum(depthwise(3), Scale(nn.Identity(), (6, 9, 9))), id="a-factor-for-each-place"),
        pytest.param(Sum(depthwise(3, padding_mode="reflect"), nn.Identity()), id="padded-otherwise"),
        pytest.param(Shared(), id="shared-weights"),
        pytest.param(ReadTwice(), id="read-twice"),
        pytest.param(OfAnother(), id="a-residual"),
    ],
)
def test_what_is_no_sum_of_depthwise_branches_stays(module: nn.Module) -> None:
    graph_module = opened(settled(module), torch.randn(1, 6, 9, 9))
    before = layers(graph_module)
    assert merge_branches(graph_module) == 0
    assert layers(graph_module) == before


def test_a_weighted_sum_stays() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = depthwise(3)

        def forward(self, x: Any) -> Any:
            return torch.add(self.layer(x), x, alpha=2)

    assert merge_branches(opened(Weighted(), torch.randn(1, 6, 9, 9))) == 0
