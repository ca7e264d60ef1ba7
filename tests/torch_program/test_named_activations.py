"""Activations that are spelled out get their own operator, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module

Function = Callable[[Any], Any]


class Spelled(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Any) -> Any:
        return self.function(self.layer(x))


def operators(function: Function) -> list[str]:
    """Returns the operators behind the layer; the canonical form is held against the model's own values inside."""
    module = Spelled(function).eval()
    examples = (torch.linspace(-9, 9, 3 * 8 * 8).reshape(1, 3, 8, 8),)
    program = canonical(export_module(module, examples, "net"), examples, "net")
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return [name.split(".")[1] for name in names if "conv" not in name]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x * functional.relu6(x + 3) / 6, id="divided-at-last"),
        pytest.param(lambda x: x * (functional.relu6(x + 3) / 6), id="divided-at-first"),
        pytest.param(lambda x: x * (functional.relu6(3 + x) * (1 / 6)), id="times-a-sixth"),
        pytest.param(lambda x: torch.clamp(x + 3, 0, 6) * x / 6.0, id="clamp"),
        pytest.param(lambda x: x * functional.relu6(x + torch.tensor([3.0])) / torch.tensor([6.0]), id="tensors"),
        pytest.param(lambda x: x * functional.hardsigmoid(x), id="hard-sigmoid"),
    ],
)
def test_a_hard_swish_that_is_spelled_out_is_one_operator(function: Function) -> None:
    assert operators(function) == ["hardswish"]


def test_a_hard_sigmoid_that_gates_something_else_is_one_operator_before_the_product() -> None:
    def excite(x: Any) -> Any:
        return x * functional.relu6(x.mean((2, 3), keepdim=True) + 3) / 6

    assert operators(excite) == ["mean", "hardsigmoid", "mul"]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x * functional.relu6(x + 2) / 6, id="another-shift"),
        pytest.param(lambda x: x * torch.clamp(x + 3, 0, 5) / 6, id="another-bound"),
        pytest.param(lambda x: x * torch.clamp(x + 3, -1, 6) / 6, id="another-floor"),
        pytest.param(lambda x: x * functional.relu6(x + 3) / 5, id="another-divisor"),
        pytest.param(lambda x: 6 / (functional.relu6(x + 3) + 1), id="no-division-by-six"),
        pytest.param(lambda x: torch.add(x, 3, alpha=2).clamp(0, 6) / 6, id="scaled-shift"),
        pytest.param(lambda x: torch.div(functional.relu6(x + 3), 6, rounding_mode="floor"), id="whole-numbers"),
    ],
)
def test_other_arithmetic_stays(function: Function) -> None:
    found = operators(function)
    assert not {"hardswish", "hardsigmoid"} & set(found)


def test_a_part_that_something_else_reads_too_stays() -> None:
    def both(x: Any) -> Any:
        bounded = functional.relu6(x + 3)
        return x * bounded / 6 + bounded

    assert "hardswish" not in operators(both)
