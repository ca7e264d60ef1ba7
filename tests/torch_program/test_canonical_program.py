"""The canonical form: functional, constants folded, names kept, and the same outputs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.torch_program.canonical_program import canonical, check_equal
from edgekit.torch_program.trace_module import export_module


def canonical_of(module: nn.Module, *examples: Any, names: list[str] | None = None) -> Any:
    return canonical(export_module(module.eval(), examples, "net"), examples, "net", names)


def operators(program: Any) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


class Changes(nn.Module):
    def forward(self, x: Any) -> Any:
        y = x * 2
        y += 1
        z = y.relu_()
        return y, z


class ChangesView(nn.Module):
    def forward(self, x: Any) -> Any:
        y = x * 2
        y[:, 0] = 5.0
        mask = torch.zeros(4)
        mask[1] = 3.0
        return y + mask.exp()


class ChangesSeenView(nn.Module):
    def forward(self, x: Any) -> Any:
        mask = torch.zeros(4)
        first = mask[:2]
        mask[1] = 3.0
        return x + mask.exp() + first.sum()


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.arange(4.0))

    def forward(self, x: Any) -> Any:
        mask = torch.arange(4)[:, None] <= torch.arange(4)[None]
        return (x[:, None] * mask).sum(1) * (self.scale + 1).to(torch.float32)


class Large(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.rand(4))

    def forward(self, x: Any) -> Any:
        return x + (self.table[:, None] * torch.ones(1, 70000)).sum(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, ids: Any) -> Any:
        return self.words(ids) @ self.words.weight.T


def assert_same(module: nn.Module, *examples: Any) -> Any:
    program = canonical_of(module, *examples)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(*examples), module(*examples))
    return program


def test_in_place_operators_become_functional():
    assert operators(assert_same(Changes(), torch.randn(1, 4))) == [
        "aten.mul.Tensor",
        "aten.add.Tensor",
        "aten.relu.default",
    ]


def test_a_change_through_a_view_is_seen_by_what_reads_it_later():
    program = assert_same(ChangesView(), torch.randn(1, 4))
    assert "aten.exp.default" not in operators(program)  # of a constant, as it is after the change


class ReadTwice(nn.Module):
    """A folded constant that the model reads, and from which it computes a large one."""

    def forward(self, x: Any) -> Any:
        steps = torch.arange(300.0).sqrt()
        return x + steps, (steps[:, None] * steps[None]) @ x


def test_a_large_constant_is_computed_from_one_that_was_stored_already():
    found = operators(canonical_of(ReadTwice(), torch.randn(300)))
    assert "aten.arange.start_step" not in found
    assert "aten.sqrt.default" not in found


class Chosen(nn.Module):
    """A choice among whole numbers, one of which is made where it is used."""

    def forward(self, x: Any) -> Any:
        return torch.where(x > 0, torch.arange(4), torch.zeros((), dtype=torch.int64)).sum(-1)


def test_whole_numbers_of_one_value_are_folded_since_coremltools_makes_floats_of_them():
    program = assert_same(Chosen(), torch.randn(1, 4))
    assert operators(program) == ["aten.gt.Scalar", "aten.where.self", "aten.sum.dim_IntList"]


def test_a_constant_that_stays_changed_in_place_is_not_folded():
    program = assert_same(ChangesSeenView(), torch.randn(1, 4))
    assert "aten.exp.default" in operators(program)


def test_what_depends_on_no_input_is_computed_once():
    program = assert_same(Masked(), torch.randn(1, 4))
    assert operators(program) == [
        "aten.unsqueeze.default",
        "aten.mul.Tensor",
        "aten.sum.dim_IntList",
        "aten.mul.Tensor",
    ]


def test_a_constant_larger_than_its_weights_is_not_stored():
    program = assert_same(Large(), torch.randn(1, 4))
    sizes = [tensor.numel() for tensor in (*program.state_dict.values(), *program.constants.values())]
    assert max(sizes) < 70000


def test_a_weight_that_is_only_transposed_stays_tied():
    program = assert_same(Tied(), torch.zeros(1, 3, dtype=torch.int64))
    assert [tuple(tensor.shape) for tensor in program.state_dict.values()] == [(9, 4)]


def test_dropout_and_casts_that_do_nothing_are_gone():
    class Idle(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.dropout(x.float().detach(), 0.5, self.training) * 2

    assert operators(assert_same(Idle(), torch.randn(1, 4))) == ["aten.mul.Tensor"]


def test_pads_and_repetitions_that_do_nothing_are_gone():
    class Idle(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.pad(x, (0, 0, 0, 0)).repeat(1, 1) * 2

    assert operators(assert_same(Idle(), torch.randn(1, 4))) == ["aten.mul.Tensor"]


def test_pads_and_repetitions_that_do_something_stay():
    class Busy(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.pad(x, (0, 1)).repeat(1, 1, 1) * 2

    assert operators(assert_same(Busy(), torch.randn(1, 4))) == [
        "aten.pad.default",
        "aten.repeat.default",
        "aten.mul.Tensor",
    ]


class TokenMixer(nn.Module):
    """RepViT's: two depthwise convolutions and their input, under one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4))
        self.small = nn.Conv2d(4, 4, 1, groups=4)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        return self.norm(self.large(x) + self.small(x) + x)


def test_branches_and_the_batch_norm_of_their_sum_are_one_convolution():
    module = TokenMixer()
    for norm in (module.large[1], module.norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    assert operators(assert_same(module.eval(), torch.randn(1, 4, 8, 8))) == ["aten.conv2d.default"]


def test_inputs_can_be_named():
    program = canonical_of(nn.ReLU(), torch.randn(1, 4), names=["input.1"])
    assert program.graph_signature.user_inputs == ("input_1",)


@pytest.mark.parametrize(("name", "word"), [("1x", "_1x"), ("class", "_class"), ("", "_")])
def test_names_that_python_does_not_allow_are_changed(name, word):
    program = canonical_of(nn.ReLU(), torch.randn(1, 4), names=[name])
    assert program.graph_signature.user_inputs == (word,)


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (torch.zeros(2), "shape (2,) instead of (3,)"),
        (torch.tensor([0.0, 0.5, 0.0]), "values that differ by up to 0.5"),
    ],
    ids=["shape", "values"],
)
def test_different_outputs_are_refused(other, shown):
    with pytest.raises(ModelError) as caught:
        check_equal([torch.zeros(3)], [other], "net")
    assert caught.value.message == (
        f"net: the captured graph gives {shown} in output 0. The model draws random numbers, keeps state between "
        "calls or changes its inputs; its forward must depend on its inputs alone."
    )


def test_empty_and_infinite_outputs_are_equal_to_themselves():
    check_equal(
        [torch.zeros(0), torch.tensor([float("inf"), float("nan")])] * 1,
        [torch.zeros(0), torch.tensor([float("inf"), float("nan")])],
        "net",
    )


class CallsALibrary(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.ops.edgekit_test.doubled(x)


def test_an_operator_of_a_library_is_refused_at_its_line():
    with torch.library._scoped_library("edgekit_test", "FRAGMENT") as library:
        library.define("doubled(Tensor x) -> Tensor")
        library.impl("doubled", lambda x: x * 2, "CPU")
        library.impl("doubled", torch.empty_like, "Meta")
        with pytest.raises(ModelError) as caught:
            export_module(CallsALibrary(), (torch.randn(1, 3),), "net")
    assert re.fullmatch(
        r"net: the model calls edgekit_test\.doubled\.default, at \S+test_canonical_program\.py:\d+: "
        r"return torch\.ops\.edgekit_test\.doubled\(x\), a library's own operator that no format knows\. Let the model "
        r"compute this with torch's operators \(libraries often have such an implementation to choose\), or leave that "
        r"step outside the model\.",
        str(caught.value),
    )
