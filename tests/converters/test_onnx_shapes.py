"""Shapes of an ONNX graph, found without its weights."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.converters.onnx_shapes import inferred_graph

onnx = pytest.importorskip("onnx")


def model_with(columns: int) -> onnx.ModelProto:
    """Returns y = reshape(x W) with W of so many columns, and a shape that follows from a constant."""
    helper, numpy = onnx.helper, onnx.numpy_helper
    weights = numpy.from_array(np.ones((64, columns), np.float32), "w")
    shape = numpy.from_array(np.asarray([columns, 1, 2], np.int64), "s")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Reshape", ["p", "s"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (2, 64))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [weights, shape],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("columns", [8, 64], ids=["small", "large"])
def test_shapes_are_those_that_onnx_finds_with_the_weights(columns: int) -> None:
    model = model_with(columns)
    before = model.SerializeToString(deterministic=True)
    found, expected = inferred_graph(model), onnx.shape_inference.infer_shapes(model).graph
    assert list(found.value_info) == list(expected.value_info)
    assert list(found.output) == list(expected.output)
    assert [size.dim_value for size in found.output[0].type.tensor_type.shape.dim] == [columns, 1, 2]
    assert [tensor.name for tensor in found.initializer] == ["w", "s"]
    assert model.SerializeToString(deterministic=True) == before


def test_large_weights_are_omitted() -> None:
    small, large = (inferred_graph(model_with(columns)).ByteSize() for columns in (8, 6400))
    assert large < small + 4000
