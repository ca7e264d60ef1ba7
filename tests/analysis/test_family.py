"""The family of a model, and the evidence for it."""

from __future__ import annotations

import pytest

from edgekit.analysis.family import family_by_work
from edgekit.analysis.graph import Operator


def ops(*rows):
    return [
        Operator(name=f"{kernel}{i}", type=kernel, kernel=kernel, module="", inputs=(), outputs=(), macs=macs)
        for kernel, macs, count in rows
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("operators", "family"),
    [
        pytest.param(ops(("dense_conv", 100, 3), ("linear", 10, 1)), "cnn", id="convolutions and a classifier"),
        pytest.param(ops(("depthwise_conv", 10, 3), ("pointwise_conv", 100, 3)), "cnn", id="separable"),
        pytest.param(ops(("attention_matmul", 10, 4), ("linear", 100, 8)), "transformer", id="encoder"),
        pytest.param(
            ops(("dense_conv", 40, 1), ("attention_matmul", 10, 4), ("linear", 100, 8)), "transformer", id="vit"
        ),
        pytest.param(ops(("dense_conv", 100, 5), ("attention_matmul", 10, 4), ("linear", 30, 8)), "mixed", id="hybrid"),
        pytest.param(ops(("recurrent", 1000, 1), ("linear", 10, 1)), "rnn", id="lstm"),
        pytest.param(ops(("dense_conv", 500, 2), ("recurrent", 500, 1)), "mixed", id="convolutions into an lstm"),
        pytest.param(ops(("linear", 10, 3), ("elementwise", 0, 2)), "mlp", id="linear layers alone"),
        pytest.param(ops(("elementwise", 0, 2)), "unknown", id="arithmetic alone"),
        pytest.param(
            ops(("dense_conv", 100, 5), ("attention_matmul", 1, 2), ("linear", 5, 4)), "cnn", id="attention at the end"
        ),
        pytest.param([], "unknown", id="nothing"),
    ],
)
def test_family_follows_the_work(operators, family):
    assert family_by_work(operators)[0] == family


def test_evidence_names_counts_and_shares_the_largest_first():
    _, evidence = family_by_work(ops(("linear", 10, 1), ("dense_conv", 330, 3)))
    assert evidence == "3 convolutions (99.0 % of the work), 1 linear layer (1.0 % of the work)"


def test_evidence_says_that_there_is_none():
    assert family_by_work(ops(("elementwise", 0, 2)))[1] == "no convolution, recurrent layer, attention or linear layer"
