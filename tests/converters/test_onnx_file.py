"""An ONNX file that is written weight by weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.onnx_file import write_model

onnx = pytest.importorskip("onnx")


@pytest.mark.parametrize("sizes", [(), (0,), (1, 200, 40_000, 3)], ids=str)
def test_the_bytes_are_those_of_protobuf(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    helper = onnx.helper
    weights = [onnx.numpy_helper.from_array(np.arange(size, dtype=np.float32), f"w{i}") for i, size in enumerate(sizes)]
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (2, 64))
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 64))
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="r")], "net", [value], [out], weights, doc_string="words"
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="edgekit")
    helper.set_model_props(model, {"b": "1", "a": "2"})
    write_model(model, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == model.SerializeToString(deterministic=True)
