"""Finished files: costs, and the precisions that they compute in."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.analysis.finished_file import read_finished

READER = "edgekit.analysis.read_onnx_graph:read_onnx_file"

onnx = pytest.importorskip("onnx")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT


def save(path, nodes, shape, stored):
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    values = [helper.make_tensor_value_info("x", FLOAT, shape), helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


SCALES = {"s": np.float32(0.1), "z": np.int8(0), "zu": np.uint8(0)}
WEIGHTS = np.ones((4, 3, 3, 3), np.int8)
PAIR = [
    helper.make_node("QuantizeLinear", ["x", "s", "zu"], ["q"]),
    helper.make_node("DequantizeLinear", ["q", "s", "zu"], ["d"]),
]
WIDEN = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"])


@pytest.mark.parametrize(
    ("nodes", "weights", "precision"),
    [
        ([*PAIR, WIDEN, helper.make_node("Conv", ["d", "wd"], ["y"])], WEIGHTS, "int8_static"),
        ([WIDEN, helper.make_node("Conv", ["x", "wd"], ["y"])], WEIGHTS, "int8_weights"),
        (
            [
                helper.make_node("QuantizeLinear", ["x", "s", "zu"], ["q"]),
                helper.make_node("QLinearConv", ["q", "s", "zu", "w", "s", "z", "s", "zu"], ["o"]),
                helper.make_node("DequantizeLinear", ["o", "s", "zu"], ["y"]),
            ],
            WEIGHTS,
            "int8_static",
        ),
        ([helper.make_node("Conv", ["x", "w"], ["y"])], WEIGHTS.astype(np.float32), "fp32"),
    ],
    ids=["pairs", "weights", "operators", "float"],
)
def test_an_onnx_file_tells_its_precision(tmp_path, nodes, weights, precision):
    path = save(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], {**SCALES, "w": weights})
    found = read_finished(READER, path, {})
    analysis, recipe = found.analysis, found.recipe
    assert (recipe.default, recipe.overrides) == (precision, ())
    assert [(o.kernel, o.macs) for o in analysis.operators] == [("dense_conv", 36 * 4 * 27)]


def test_layers_of_another_precision_are_distinguished_whatever_their_names(tmp_path):
    nodes = [
        *PAIR,
        WIDEN,
        helper.make_node("Conv", ["d", "wd"], ["c"], name="a[0]*"),
        helper.make_node("Sin", ["c"], ["y"], name="a[0]?"),
    ]
    path = save(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], {**SCALES, "w": WEIGHTS})
    found = read_finished(READER, path, {})
    analysis, recipe = found.analysis, found.recipe
    assert [recipe.word_of(o.module) for o in analysis.operators] == ["int8_static", "fp32"]


def test_free_sizes_are_those_that_are_given(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, ["N", 3, "H", "W"], {"w": WEIGHTS.astype(np.float32)})
    assert read_finished(READER, path, {"x": (1, 3, 12, 12)}).analysis.macs == 100 * 4 * 27
