"""Activations that an ONNX file spells out get their own node, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters.onnx_activations import name_activations

CONSTANTS = {"zero": 0.0, "two": 2.0, "three": 3.0, "five": 5.0, "six": 6.0, "sixth": 1 / 6}


def model(*lines: str) -> onnx.ModelProto:
    """Returns a model of nodes `Operator reads... > writes`, from x to y."""
    nodes = []
    for number, line in enumerate(lines):
        left, _, written = line.partition(" > ")
        operator, *reads = left.split()
        nodes.append(helper.make_node(operator, reads, written.split(), f"{operator}_{number}"))
    boundary = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2, 3, 4)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    for name, value in CONSTANTS.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    onnx.checker.check_model(made)
    values = np.linspace(-9, 9, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": values})[0])


def words(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Add x three > a", "Clip a zero six > c", "Mul x c > m", "Div m six > y"), id="divided-at-last"),
        pytest.param(("Add three x > a", "Clip a zero six > c", "Mul c x > m", "Mul m sixth > y"), id="times-a-sixth"),
        pytest.param(("Add x three > a", "Clip a zero six > c", "Div c six > g", "Mul x g > y"), id="divided-at-first"),
    ],
)
def test_a_hard_swish_that_is_spelled_out_has_one_gate(lines: tuple[str, ...]) -> None:
    made = model("Identity x > z", *(line.replace("x", "z").replace("siz", "six") for line in lines))
    expected, last = run(made), made.graph.node[-1].output[0]
    name_activations(made.graph)
    assert words(made) == ["Identity", "HardSigmoid", "Mul"]
    assert made.graph.node[-1].output[0] == last
    np.testing.assert_allclose(run(made), expected, atol=1e-6)


def test_a_gate_of_another_tensor_is_named_too() -> None:
    made = model("GlobalAveragePool x > p", "Add p three > a", "Clip a zero six > c", "Mul x c > m", "Div m six > y")
    expected = run(made)
    name_activations(made.graph)
    assert words(made) == ["GlobalAveragePool", "HardSigmoid", "Mul"]
    np.testing.assert_allclose(run(made), expected, atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Add x three > a", "Clip a zero six > c", "Mul x c > m", "Div m five > y"), id="another-divisor"),
        pytest.param(("Add x three > a", "Clip a two six > c", "Mul x c > m", "Div m six > y"), id="another-floor"),
        pytest.param(("Add x x > a", "Clip a zero six > c", "Mul x c > m", "Div m six > y"), id="no-shift"),
        pytest.param(("Add x three > a", "Clip a zero six > c", "Mul x c > m", "Div six m > y"), id="six-over-it"),
        pytest.param(
            ("Add x three > a", "Clip a zero six > c", "Mul x c > m", "Div m six > d", "Add d c > y"), id="read-twice"
        ),
        pytest.param(("Add x three > a", "Clip a zero > y"), id="no-upper-bound"),
    ],
)
def test_other_arithmetic_stays(lines: tuple[str, ...]) -> None:
    made = model(*lines)
    before = made.SerializeToString(deterministic=True)
    name_activations(made.graph)
    assert made.SerializeToString(deterministic=True) == before
