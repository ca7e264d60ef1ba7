"""A check that a rewrite computes what torch computes, without the operator that it replaces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.trace_module import export_module, run_module


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@pytest.fixture
def rewritten() -> Callable[..., list[str]]:
    """Returns a function that checks a function or module against its canonical program and returns the operators."""

    def check(function: Callable[..., Any], *examples: Any) -> list[str]:
        module = (function if isinstance(function, nn.Module) else Function(function)).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = canonical(export_module(module, examples, "net", lengths=True), examples, "net")
            expected = run_module(module, examples, "net")
        for got, wanted in zip(run_module(program.module(), examples, "net"), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-5, equal_nan=True)
        return [str(node.target).split(".")[1] for node in program.graph.nodes if "aten." in str(node.target)]

    return check
