"""What logarithms are taken of, in the words of each kind of graph."""

from __future__ import annotations

import pytest

from edgekit.analysis.logarithms import logarithm_feeders
from edgekit.analysis.output_heads import HeadOperator


def chain(*words):
    """Returns operators, each of which reads what the one before writes."""
    return [
        HeadOperator(name=f"{i}", word=word, reads=(f"t{i}",), writes=(f"t{i + 1}",)) for i, word in enumerate(words)
    ]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("conv1d.default", "mul.Tensor", "linear.default", "add.Tensor", "log.default"), id="torch"),
        pytest.param(("Conv", "Mul", "MatMul", "Add", "Log"), id="onnx"),
        pytest.param(("CONV_2D", "MUL", "BATCH_MATMUL", "ADD", "LOG"), id="tflite"),
        pytest.param(("aten.conv1d.default", "aten.square.default", "aten.sum.dim_IntList", "view", "log10"), id="sum"),
    ],
)
def test_energies_are_what_lies_between_the_last_convolution_and_the_logarithm(words):
    head = HeadOperator(name="head", word="linear", reads=("t5",), writes=("y",))
    assert logarithm_feeders([*chain(*words), head]) == {"1", "2", "3", "4"}


def test_layers_before_the_last_one_are_no_part_of_a_spectrum():
    assert logarithm_feeders(chain("linear", "relu", "linear", "relu", "log1p")) == {"1", "2", "3", "4"}


def test_what_a_logarithm_does_not_read_is_no_energy():
    assert logarithm_feeders(chain("linear", "add", "exp", "mul")) == set()
