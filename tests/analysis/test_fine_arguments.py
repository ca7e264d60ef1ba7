"""What needs finer steps than a grid has, in the words of each kind of graph."""

from __future__ import annotations

import pytest

from edgekit.analysis.fine_arguments import fine_operators
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
    assert fine_operators([*chain(*words), head]) == {"1", "2", "3", "4"}


def test_layers_before_the_last_one_are_no_part_of_a_spectrum():
    assert fine_operators(chain("linear", "relu", "linear", "relu", "log1p")) == {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("linear.default", "neg.default", "add.Tensor", "exp.default", "linear.default"), id="torch"),
        pytest.param(("Gemm", "Neg", "Sub", "CumSum", "Gemm"), id="onnx"),
        pytest.param(("FULLY_CONNECTED", "MUL", "ADD", "TOPK_V2", "FULLY_CONNECTED"), id="tflite"),
    ],
)
def test_arguments_of_exponentials_sums_and_orders_are_fine_from_the_last_layer_on(words):
    assert fine_operators(chain(*words)) == {"1", "2", "3"}


def test_products_before_an_exponential_are_layers():
    assert fine_operators(chain("linear", "linear", "add", "exp")) == {"2", "3"}


def test_what_nothing_delicate_reads_is_not_fine():
    assert fine_operators(chain("linear", "add", "softmax", "mul")) == set()
