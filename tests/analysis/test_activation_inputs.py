"""Tensors that one activation reads, in the words of each kind of graph."""

from __future__ import annotations

import pytest

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.analysis.output_heads import HeadOperator


def graph(*operators):
    """Returns operators of `word reads... > writes`."""
    made = []
    for number, text in enumerate(operators):
        left, _, written = text.partition(" > ")
        word, *reads = left.split()
        made.append(HeadOperator(name=f"{number}", word=word, reads=tuple(reads), writes=(written,)))
    return made


@pytest.mark.parametrize(
    ("words", "activation"),
    [
        pytest.param(("aten.conv2d.default", "aten.silu.default"), "silu", id="torch"),
        pytest.param(("aten.conv2d.default", "aten.hardswish.default"), "hardswish", id="torch-hardswish"),
        pytest.param(("Conv", "HardSwish"), "hardswish", id="onnx"),
        pytest.param(("Conv", "Gelu"), "gelu", id="onnx-gelu"),
        pytest.param(("CONV_2D", "HARD_SWISH"), "hardswish", id="tflite"),
        pytest.param(("CONV_2D", "LOGISTIC"), "sigmoid", id="tflite-logistic"),
        pytest.param(("conv2d", "mish"), "mish", id="analysis"),
    ],
)
def test_an_activation_between_layers_is_found(words, activation):
    layer, word = words
    operators = graph(f"{layer} x > a", f"{word} a > b", f"{layer} b > y")
    assert activation_inputs(operators, ["y"]) == {"a": activation}


@pytest.mark.parametrize("words", [("sigmoid.default", "mul.Tensor"), ("Sigmoid", "Mul"), ("LOGISTIC", "MUL")])
def test_a_value_times_its_own_sigmoid_is_a_silu(words):
    gate, product = words
    operators = graph("Conv x > a", f"{gate} a > g", f"{product} g a > b", "Conv b > y")
    assert activation_inputs(operators, ["y"]) == {"a": "silu"}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["Add a b > c", "Conv c > y"], id="the-tensor-is-read-by-a-sum-too"),
        pytest.param(["Add g b > c", "Conv c > y"], id="the-gate-is-read-by-a-sum-too"),
    ],
)
def test_what_something_else_reads_too_is_left_out(more):
    operators = graph("Conv x > a", "Sigmoid a > g", "Mul a g > b", *more)
    assert "a" not in activation_inputs(operators, ["y"])


def test_the_gate_of_another_tensor_is_no_silu():
    operators = graph("Conv x > a", "Conv x > c", "Sigmoid a > g", "Mul c g > b", "Conv b > y")
    assert activation_inputs(operators, ["y"]) == {"a": "sigmoid"}


def test_an_output_is_left_out():
    operators = graph("Conv x > a", "Silu a > b", "Conv b > y")
    assert activation_inputs(operators, ["y", "a"]) == {}


def test_an_activation_in_a_head_is_left_out():
    operators = graph("Conv x > a", "Sigmoid a > p", "Conv x > b", "Concat b p > y")
    assert activation_inputs(operators, ["y"]) == {}


@pytest.mark.parametrize("words", [("hardsigmoid.default", "mul.Tensor"), ("HardSigmoid", "Mul")])
def test_a_value_times_its_own_hard_sigmoid_is_a_hard_swish(words):
    gate, product = words
    operators = graph("Conv x > a", f"{gate} a > g", f"{product} g a > b", "Conv b > y")
    assert activation_inputs(operators, ["y"]) == {"a": "hardswish"}


def test_a_hard_sigmoid_of_another_slope_is_no_activation_whose_flat_ends_are_known():
    operators = graph("Conv x > a", "Ramp a > g", "Mul g a > b", "Conv b > y")
    assert activation_inputs(operators, ["y"]) == {}
