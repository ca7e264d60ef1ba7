"""Single numbers behind convolutions go into their weights, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters.onnx_scalars import fold_scalars


def model(*lines: str) -> onnx.ModelProto:
    """Returns a model of nodes `Operator reads... > writes`, from x to y."""
    generator = np.random.default_rng(0)
    nodes = []
    for line in lines:
        left, _, written = line.partition(" > ")
        operator, *reads = left.split()
        nodes.append(helper.make_node(operator, reads, written.split(), group=3 if "w1" in reads else 1) if "Conv" in
                     operator else helper.make_node(operator, reads, written.split()))  # fmt: skip
    boundary = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    constants = {
        "w1": generator.normal(size=(3, 1, 1, 1)),
        "w3": generator.normal(size=(3, 3, 1, 1)),
        "b": generator.normal(size=3),
        "two": np.array([2.0]),
        "half": np.array(0.5),
        "four": np.full((1, 1, 1, 1, 1), 4.0),
    }
    for name, values in constants.items():
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: onnx.ModelProto) -> np.ndarray:
    onnx.checker.check_model(made)
    values = np.random.default_rng(1).normal(size=(1, 3, 4, 4)).astype(np.float32)
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": values})[0])


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Conv x w3 b > a", "Mul two a > m", "Add m half > y"), id="product-and-sum"),
        pytest.param(("Conv x w3 > a", "Add a half > s", "Mul s two > y"), id="sum-and-product-without-bias"),
        pytest.param(("Conv x w1 b > a", "Mul a half > y"), id="depthwise"),
        pytest.param(("ConvTranspose x w3 b > a", "Mul a two > m", "Add m two > y"), id="transposed"),
        pytest.param(("ConvTranspose x w1 > a", "Add a two > y"), id="transposed-in-groups"),
    ],
)
def test_numbers_behind_a_convolution_are_folded(lines: tuple[str, ...]) -> None:
    made = model(*lines)
    expected = run(made)
    fold_scalars(made.graph)
    assert [node.op_type for node in made.graph.node] == [lines[0].split()[0]]
    np.testing.assert_allclose(run(made), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Conv x w3 b > a", "Mul a two > m", "Add m a > y"), id="the-result-is-read-twice"),
        pytest.param(("Conv x w3 b > a", "Mul a a > y"), id="no-number"),
        pytest.param(("Conv x w3 b > a", "Div two a > y"), id="a-division-by-it"),
        pytest.param(("Relu x > a", "Mul a two > y"), id="no-convolution"),
        pytest.param(("Abs w3 > w", "Conv x w > a", "Mul a two > y"), id="weights-that-are-computed"),
        pytest.param(("Conv x w3 b > a", "Mul a four > y"), id="a-number-of-more-axes"),
    ],
)
def test_other_arithmetic_stays(lines: tuple[str, ...]) -> None:
    made = model(*lines)
    before = made.SerializeToString(deterministic=True)
    fold_scalars(made.graph)
    assert made.SerializeToString(deterministic=True) == before
