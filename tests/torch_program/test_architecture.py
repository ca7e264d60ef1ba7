from __future__ import annotations

import pytest

from edgekit.torch_program.architecture import Operation, judge


def times(count: int, role: str, macs: int | None = 10) -> list[Operation]:
    return [Operation(role=role, macs=macs)] * count


@pytest.mark.parametrize(
    ("operations", "family", "evidence"),
    [
        (
            [*times(2, "convolution"), *times(1, "depthwise"), *times(1, "linear")],
            "cnn",
            "3 convolutions (1 depthwise), 1 linear layer",
        ),
        (times(3, "linear"), "mlp", "3 linear layers"),
        (times(1, "matmul"), "unknown", "1 matrix product"),
        ([*times(4, "linear"), *times(2, "attention")], "transformer", "4 linear layers, 2 attentions"),
        (
            [*times(4, "linear"), *times(4, "matmul"), *times(2, "softmax", 0)],
            "transformer",
            "4 linear layers, 2 attentions",
        ),
        (
            [*times(1, "convolution", 5), *times(4, "linear"), *times(1, "attention")],
            "transformer",
            "1 convolution, 4 linear layers, 1 attention",
        ),
        ([*times(8, "convolution"), *times(1, "attention")], "mixed", "8 convolutions, 1 attention"),
        (times(2, "recurrent"), "rnn", "2 recurrent layers"),
        ([*times(2, "recurrent"), *times(3, "convolution")], "mixed", "3 convolutions, 2 recurrent layers"),
        ([*times(9, "recurrent", None), *times(3, "convolution")], "mixed", "3 convolutions, 9 recurrent layers"),
        ([*times(1, "recurrent"), *times(1, "attention")], "mixed", "1 attention, 1 recurrent layer"),
        ([*times(1, "linear"), *times(1, "softmax", 0)], "mlp", "1 linear layer"),
        (times(1, "embedding", 0), "unknown", "1 embedding table"),
        ([], "unknown", "no convolution, linear layer, attention or recurrence"),
    ],
    ids=[
        "cnn",
        "mlp",
        "product",
        "fused",
        "written-out",
        "patches",
        "hybrid",
        "rnn",
        "conv-rnn",
        "conv-loops",
        "attended-rnn",
        "classifier",
        "table",
        "none",
    ],
)
def test_the_family_follows_from_what_costs(operations, family, evidence):
    found = judge(operations)
    assert (found.family, found.evidence) == (family, evidence)


def test_multiply_accumulates_are_added():
    assert judge(times(3, "linear")).macs == 30


def test_one_unknown_cost_makes_the_sum_unknown():
    assert judge([*times(3, "linear"), Operation(role="recurrent", macs=None)]).macs is None
