"""ONNX files with branches as the float graph that conversions start from."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.converters.onnx_source import float_graph
from edgekit.model import CapturedModel, TensorSpec

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


def two_rates(folder, other):
    """Writes a file with a branch for 4 samples, and one for `other` samples, chosen by an input."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def branch(size):
        weight = numpy_helper.from_array(np.arange(size, dtype=np.float32), "weight")
        made = helper.make_tensor_value_info(f"out_{size}", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Add", ["x", "weight"], [f"out_{size}"])], "b", [], [made], [weight])

    graph = helper.make_graph(
        [helper.make_node("If", ["fast"], ["y"], then_branch=branch(4), else_branch=branch(other))],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "samples"]),
            helper.make_tensor_value_info("fast", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    path = folder / "rates.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return CapturedModel(
        name="rates",
        source="rates.onnx",
        source_kind="onnx",
        kind="onnx",
        path=path,
        inputs=(
            TensorSpec(name="x", shape=(1, 4), dtype="float32"),
            TensorSpec(name="fast", shape=(), dtype="bool"),
        ),
        outputs=(TensorSpec(name="y", shape=(1, 4), dtype="float32"),),
        digest="0",
        parameters=1,
        macs=None,
        family="unknown",
    )


@pytest.mark.parametrize(("other", "size"), [(8, 0), (1, 4)], ids=["fits one branch alone", "fits both"])
def test_sizes_are_fixed_unless_they_fit_one_branch_alone(tmp_path, other, size):
    import onnxruntime

    graph = float_graph(two_rates(tmp_path, other), tmp_path)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.ones((1, 4), np.float32), "fast": np.array(True)})
    np.testing.assert_array_equal(result, [[1, 2, 3, 4]])
    assert graph.model.graph.input[0].type.tensor_type.shape.dim[1].dim_value == size
