"""What frameworks spell differently becomes one form at capture, and computes the same."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.torch_program.canonical_program import canonical
from edgekit.torch_program.structured_outputs import flatten_outputs
from edgekit.torch_program.trace_module import export_module, run_module, run_named


def canonical_of(module: nn.Module, *examples: Any) -> Any:
    return canonical(export_module(module.eval(), examples, "net"), examples, "net")


def operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def assert_same(module: nn.Module, *examples: Any) -> list[str]:
    program = canonical_of(module, *examples)
    for got, expected in zip(
        run_module(program.module(), examples, "net"), run_module(module, examples, "net"), strict=True
    ):
        torch.testing.assert_close(got, expected)
    return operators(program)


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            y = self.inner(x.float())
            with torch.autocast("cpu", enabled=False):
                z = torch.relu(y)
        return z, y


class Mask(nn.Module):
    def forward(self, x: Any, seen: Any) -> Any:
        visible = seen.to(torch.bool)
        return x.masked_fill(~((visible & (x > 0)) | (visible ^ (x > 1))), -1.0)


class Shuffle(nn.Module):
    def forward(self, x: Any) -> Any:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Any) -> Any:
        return self.conv(x.to(memory_format=torch.channels_last)).flatten(1)


class Counting(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + torch.eye(3) + torch.arange(3.0) + x.new_ones(3)


class Nodes(NamedTuple):
    loss: None
    logits: Any


@dataclasses.dataclass
class Answer:
    logits: Any
    states: tuple[Any, Any]


class Returns(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        y, z = x * 2, x - 1
        return {
            "dict": OrderedDict(logits=y, hidden=(z, x)),
            "dataclass": Answer(logits=y, states=(z, x)),
            "named": Nodes(loss=None, logits=y),
            "none": (y, None),
            "nested": (y, [z, x]),
            "twice": (y, y),
        }[self.kind]


def test_autocast_blocks_are_replaced_by_their_bodies():
    assert assert_same(Autocast(), torch.randn(1, 4)) == ["aten.linear.default", "aten.relu.default"]


def test_bitwise_operators_on_masks_become_logical_ones():
    found = assert_same(Mask(), torch.randn(1, 6), torch.tensor([[1, 0, 1, 1, 0, 0]]))
    assert {name for name in found if "logical" in name or "bitwise" in name or "__" in name} == {
        "aten.logical_and.default",
        "aten.logical_or.default",
        "aten.logical_xor.default",
        "aten.logical_not.default",
    }


def test_a_view_behind_a_transposition_becomes_a_reshape_without_the_copy():
    found = assert_same(Shuffle(), torch.randn(1, 8, 4, 4))
    assert "aten.contiguous.default" not in found
    assert found[-1] in ("aten.reshape.default", "aten.view.default", "aten._unsafe_view.default")


def test_weights_are_stored_row_major_and_the_caller_s_stay_as_they_are():
    module = ChannelsLast().eval()
    program = canonical_of(module, torch.randn(1, 3, 5, 5))
    assert program.state_dict["conv.weight"].is_contiguous()
    assert not module.conv.weight.is_contiguous()
    assert_same(module, torch.randn(1, 3, 5, 5))


def test_what_counts_is_stored_as_a_constant():
    assert assert_same(Counting(), torch.randn(1, 3)) == ["aten.add.Tensor"] * 3


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("dict", ["logits", "hidden.0", "hidden.1"]),
        ("dataclass", ["logits", "states.0", "states.1"]),
        ("named", ["logits"]),
        ("none", None),
        ("nested", None),
        ("twice", None),
    ],
)
def test_outputs_in_containers_become_a_flat_tuple_with_readable_names(kind, names):
    module, x = Returns(kind).eval(), torch.randn(1, 4)
    assert_same(module, x)
    assert run_named(module, (x,), "net")[1] == names
    assert not module._forward_hooks


def test_an_input_that_is_returned_is_a_tensor_of_its_own():
    program = canonical_of(Returns("dict"), torch.randn(1, 4))
    inputs = {node for node in program.graph.nodes if node.op == "placeholder"}
    results = next(node for node in program.graph.nodes if node.op == "output").args[0]
    assert not inputs & set(results)


def test_a_result_without_tensors_is_refused():
    with pytest.raises(ModelError) as caught:
        flatten_outputs((None, ()), "net")
    assert caught.value.message == (
        "net: the model returns a tuple without any tensor; expected a tensor, or tuples, lists, dicts and "
        "dataclasses of tensors. Return what the app must read."
    )


def test_a_result_that_holds_something_else_is_refused_with_its_place():
    with pytest.raises(ModelError) as caught:
        flatten_outputs({"logits": torch.zeros(1), "size": (3,)}, "net")
    assert caught.value.message == (
        "net: the model returns a int at size.0; expected a tensor, or tuples, lists, dicts and dataclasses of "
        "tensors. Wrap it in a module whose forward returns tensors only."
    )
