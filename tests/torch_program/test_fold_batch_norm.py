"""Folding keeps what a network computes, whatever the layer."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import nn

from edgekit.torch_program.fold_batch_norm import fold_batch_norms


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Gives batch norms statistics unlike 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.3, 3.0, generator=generator)
            if part.affine:
                part.weight.data.normal_(generator=generator)
                part.bias.data.normal_(generator=generator)
    return module.eval()


def exported(module: nn.Module, x: Any, *, decomposed: bool = False) -> Any:
    with torch.no_grad():
        program = torch.export.export(module, (x,), strict=False)
    program = program.run_decompositions() if decomposed else program
    return program.module(check_guards=False)


def norms(graph_module: Any) -> int:
    return sum("batch_norm" in str(node.target) for node in graph_module.graph.nodes)


def assert_folds(module: nn.Module, x: Any, count: int, *, decomposed: bool = False) -> Any:
    graph_module = exported(module, x, decomposed=decomposed)
    with torch.no_grad():
        expected = module(x)
        assert fold_batch_norms(graph_module) == count
        torch.testing.assert_close(graph_module(x), expected, rtol=1e-5, atol=1e-5)
    return graph_module


LAYERS = {
    "conv1d": (lambda: [nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)], (2, 4, 9)),
    "conv2d": (lambda: [nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)], (2, 4, 9, 9)),
    "conv3d": (lambda: [nn.Conv3d(4, 6, 2), nn.BatchNorm3d(6)], (2, 4, 5, 5, 5)),
    "same": (lambda: [nn.Conv2d(4, 6, 3, padding="same"), nn.BatchNorm2d(6)], (2, 4, 9, 9)),
    "depthwise": (lambda: [nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6)], (2, 6, 9, 9)),
    "grouped": (lambda: [nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)], (2, 4, 9, 9)),
    "transposed": (lambda: [nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6)], (2, 4, 5, 5)),
    "transposed-grouped": (
        lambda: [nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)],
        (2, 4, 5, 5),
    ),
    "linear": (lambda: [nn.Linear(4, 6), nn.BatchNorm1d(6)], (2, 4)),
    "linear-no-bias": (lambda: [nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)], (2, 4)),
    "not-affine": (lambda: [nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False)], (2, 4, 9, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_folded(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    graph_module = assert_folds(randomise(nn.Sequential(*make())), torch.randn(shape), 1)
    assert norms(graph_module) == 0


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch copies its own specs the old way
@pytest.mark.parametrize("name", ["conv2d", "depthwise", "transposed-grouped"])
def test_a_decomposed_program_is_folded_too(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    assert_folds(randomise(nn.Sequential(*make())), torch.randn(shape), 1, decomposed=True)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    groups=st.integers(1, 3),
    into=st.integers(1, 3),
    out=st.integers(1, 3),
    kernel=st.integers(1, 3),
    bias=st.booleans(),
    transposed=st.booleans(),
    epsilon=st.sampled_from([1e-5, 1e-3]),
    seed=st.integers(0, 2**31 - 1),
)
def test_folding_keeps_the_outputs(groups, into, out, kernel, bias, transposed, epsilon, seed):
    torch.manual_seed(seed)
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    convolution = layer(groups * into, groups * out, kernel, groups=groups, bias=bias)
    module = randomise(nn.Sequential(convolution, nn.BatchNorm2d(groups * out, eps=epsilon)), seed)
    assert_folds(module, torch.randn(1, groups * into, 5, 5), 1)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        return self.second(self.conv(self.first(self.conv(x))))


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return self.norm(y) + y


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(3)

    def forward(self, x: Any) -> Any:
        return self.norm(self.linear(x))


class Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        return self.norm(nn.functional.conv2d(x, self.conv.weight * 2))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Shared, (1, 4, 5, 5)),
        (Branch, (1, 4, 5, 5)),
        (Rows, (1, 3, 4)),
        (Computed, (1, 4, 5, 5)),
        (lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), (1, 4, 5, 5)),
    ],
    ids=["shared-weight", "second-reader", "other-axis", "computed-weight", "norm-first"],
)
def test_what_cannot_be_folded_is_left_alone(module, shape):
    torch.manual_seed(0)
    assert_folds(randomise(module()), torch.randn(shape), 0)


def test_a_batch_norm_in_training_mode_is_left_alone():
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).train()
    graph_module = exported(module, torch.randn(2, 4, 5, 5))
    assert fold_batch_norms(graph_module) == 0


def test_a_shared_bias_is_not_overwritten():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            self.two.bias = self.one.bias
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Any) -> Any:
            return self.norm(self.one(x)) + self.two(x)

    torch.manual_seed(0)
    assert_folds(randomise(Both()), torch.randn(1, 4, 5, 5), 1)
