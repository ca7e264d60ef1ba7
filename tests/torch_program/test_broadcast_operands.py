"""Expansions before operators that broadcast."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgekit.torch_program.canonical_program import canonical  # noqa: E402
from edgekit.torch_program.graph_nodes import operator_name  # noqa: E402

X, WEIGHT = torch.rand(1, 3, 4, 5), torch.rand(1, 1, 4, 1)


class Net(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, weight):
        return self.function(x, weight)


def operators(function, *examples):
    """Names of the operators that a function has in canonical form, whose outputs it holds against the function's."""
    examples = examples or (X, WEIGHT)
    program = canonical(torch.export.export(Net(function), examples), examples, "net")
    torch.testing.assert_close(program.module()(*examples), function(*examples))
    return [operator_name(node) for node in program.graph.nodes if operator_name(node)]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x, w: x * w.expand_as(x), ["mul"]),
        (lambda x, w: x * w.expand(1, 3, 4, 5), ["mul"]),
        (lambda x, w: x * (1 - w.expand_as(x)), ["rsub", "mul"]),
        (lambda x, w: x + torch.sigmoid(2 * w.expand_as(x)).exp(), ["mul", "sigmoid", "exp", "add"]),
        (lambda x, w: torch.where(w.expand_as(x) > 0.5, x, -x), ["gt", "neg", "where"]),
    ],
)
def test_an_expansion_vanishes_where_its_reader_broadcasts(function, left):
    assert operators(function) == left


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: (x + 1, w.expand_as(x)),  # an output
        lambda x, w: torch.cat([x, w.expand_as(x)], 1),
        lambda x, w: (x.sum(), w.expand(1, 3, 4, 5) * w.expand(1, 3, 4, 5)),  # both are expanded
        lambda x, w: (x, w.expand(1, 3, 4, 5).sum((1, 2))),
    ],
)
def test_an_expansion_stays_where_its_size_is_needed(function):
    assert any(name.startswith("expand") for name in operators(function))


def test_what_others_read_of_a_moved_operator_keeps_its_shape():
    found = operators(lambda x, w: (x * torch.exp(w.expand_as(x)), torch.exp(w.expand_as(x)).sum(1)))
    assert found.count("exp") <= 2


def test_new_leading_axes_come_from_broadcasting():
    assert operators(lambda x, w: x + w.expand(1, 3, 4, 5), X, torch.rand(5)) == ["add"]
