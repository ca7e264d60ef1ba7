from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.converters.onnx_softmax import write_out_softmax

SHAPE = (1, 3, 4, 5)


def model(
    axis: int | None, opset: int = 18, kind: int = TensorProto.FLOAT, shape: tuple | None = SHAPE
) -> onnx.ModelProto:
    settings = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("Abs", ["x"], ["a"], "first"),
        helper.make_node("Softmax", ["a"], ["s"], "soft", **settings),
        helper.make_node("Neg", ["s"], ["y"], "last"),
    ]
    boundary = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(made: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    import onnxruntime

    onnx.checker.check_model(made)
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": values})[0])


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("axis", [0, 1, 2, -2, -3])
def test_the_parts_give_what_the_softmax_gives(axis: int, opset: int) -> None:
    made = model(axis, opset)
    values = np.random.default_rng(0).normal(0, 30, SHAPE).astype(np.float32)
    values[0, :, 0, 0] = 300  # exp(300) is infinite: the largest is subtracted first
    expected = run(made, values)
    write_out_softmax(made)
    assert [node.op_type for node in made.graph.node] == ["Abs", "ReduceMax", "Sub", "Exp", "ReduceSum", "Div", "Neg"]
    assert made.graph.node[5].name == "soft"
    found = run(made, values)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    "made",
    [model(3), model(-1), model(None), model(1, opset=11), model(1, kind=TensorProto.DOUBLE), model(1, shape=None)],
    ids=["last", "last from the end", "default", "old operator set", "not float32", "rank unknown"],
)
def test_every_other_softmax_stays(made: onnx.ModelProto) -> None:
    before = made.SerializeToString(deterministic=True)
    write_out_softmax(made)
    assert made.SerializeToString(deterministic=True) == before
