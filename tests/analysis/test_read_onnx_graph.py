"""Costed graphs of ONNX files."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekit.analysis.analyze import analyze
from edgekit.errors import ModelError

onnx = pytest.importorskip("onnx")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
RNG = np.random.default_rng(0)


def save(path, nodes, inputs, outputs, stored):
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def weight(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def cnn(path, batch="N"):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/net/conv/Conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="/net/Relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="/net/pool/P"),
        helper.make_node("Flatten", ["p"], ["f"], name="/net/Flatten"),
        helper.make_node("Gemm", ["f", "g", "gb"], ["y"], name="/net/head/Gemm", transB=1),
    ]
    stored = {"w": weight(8, 3, 3, 3), "b": weight(8), "g": weight(5, 8), "gb": weight(5)}
    return save(path, nodes, {"x": [batch, 3, 16, 16]}, {"y": [batch, 5]}, stored)


def test_a_cnn_is_read_as_a_runtime_runs_it(tmp_path):
    found = analyze("onnx", cnn(tmp_path / "net.onnx"))
    assert [(o.kernel, o.macs, o.fused) for o in found.operators] == [
        ("dense_conv", 8 * 8 * 8 * 27, ("Relu",)),
        ("pooling", 0, ()),
        ("linear", 40, ()),
    ]
    assert [o.module for o in found.operators] == ["net.conv", "net.pool", "net.head"]
    assert found.parameters == 8 * 27 + 8 + 40 + 5
    assert found.weights["gb"].role == "bias"
    assert found.family == "cnn"


def test_a_symbolic_batch_is_one(tmp_path):
    symbolic = analyze("onnx", cnn(tmp_path / "a.onnx"))
    fixed = analyze("onnx", cnn(tmp_path / "b.onnx", batch=1))
    assert symbolic.memory == fixed.memory
    assert symbolic.tensors["x"].shape == (1, 3, 16, 16)


def test_an_artifact_with_a_tensor_of_a_type_that_onnx_does_not_know_is_refused(tmp_path):
    path = cnn(tmp_path / "a.onnx")
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = 65535
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"a\.onnx: .*type.*65535.*\.$"):
        analyze("onnx", path)


def test_a_product_with_a_stored_matrix_is_linear_and_of_two_activations_is_attention(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="lin"),
        helper.make_node("Add", ["a", "b"], ["c"], name="bias"),
        helper.make_node("MatMul", ["c", "c"], ["y"], name="att"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 6, 4]}, {"y": [1, 6, 6]}, {"w": weight(4, 6), "b": weight(6)})
    found = analyze("onnx", path)
    assert [(o.kernel, o.macs) for o in found.operators] == [
        ("linear", 6 * 6 * 4), ("elementwise", 0), ("attention_matmul", 6 * 6 * 6),
    ]  # fmt: skip
    assert found.weights["b"].role == "bias"


def test_weights_that_the_graph_reorders_count_as_what_is_stored(tmp_path):
    """As torch's exporter writes an LSTM: gates are sliced and joined again in ONNX's order."""
    halves = {"first": np.array([0]), "middle": np.array([8]), "end": np.array([16]), "axis": np.array([1])}
    nodes = [
        helper.make_node("Slice", ["w", "first", "middle", "axis"], ["w1"]),
        helper.make_node("Slice", ["w", "middle", "end", "axis"], ["w2"]),
        helper.make_node("Concat", ["w2", "w1"], ["w3"], axis=1),
        helper.make_node("LSTM", ["x", "w3", "r", "b"], ["", "y"], name="lstm", hidden_size=4),
    ]
    stored = {"w": weight(1, 16, 3), "r": weight(1, 16, 4), "b": weight(1, 32), **halves}
    path = save(tmp_path / "lstm.onnx", nodes, {"x": [7, 1, 3]}, {"y": [1, 1, 4]}, stored)
    found = analyze("onnx", path)
    (lstm,) = found.operators
    assert (lstm.kernel, lstm.macs, lstm.weights) == ("recurrent", 7 * (48 + 64), ("w", "r", "b"))
    assert found.family == "rnn"


def test_rows_gathered_from_a_stored_table_are_an_embedding(tmp_path):
    table = helper.make_node("Gather", ["t", "ids"], ["y"], name="words")
    graph = helper.make_graph(
        [table],
        "g",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 8, 4])],
        [numpy_helper.from_array(weight(20, 4), "t")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "e.onnx")
    found = analyze("onnx", tmp_path / "e.onnx")
    assert found.operators[0].kernel == "embedding"
    assert (found.weights["t"].role, found.weights["t"].channels) == ("table", 20)


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08not protobuf")
    with pytest.raises(ModelError) as caught:
        analyze("onnx", path)
    pattern = (
        rf"{re.escape(str(path))}: onnx cannot read it: (?s:.+)\. "
        r"Expected a complete ONNX file; check it with onnx\.checker\."
    )
    assert re.fullmatch(pattern, caught.value.message)


def test_bounds_of_a_clamp_and_sizes_of_a_pad_vanish_with_them(tmp_path):
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], name="pad"),
        helper.make_node("Conv", ["p", "w"], ["c"], name="conv"),
        helper.make_node("Clip", ["c", "low", "high"], ["y"], name="clip"),
    ]
    stored = {
        "w": weight(4, 3, 3, 3),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    found = analyze("onnx", save(tmp_path / "net.onnx", nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}, stored))
    (conv,) = found.operators
    assert (conv.fused, conv.weights, set(found.weights)) == (("Pad", "Clip"), ("w",), {"w"})


def test_a_convolution_whose_input_has_no_known_rank_is_counted_by_its_filter(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["x", "sizes"], ["r"], name="reshape"),
        helper.make_node("Conv", ["r", "w"], ["c"], name="conv", group=4),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    path = save(tmp_path / "net.onnx", nodes, {"x": [64]}, {"y": None}, {"w": weight(4, 1, 3, 3)})
    model = onnx.load(str(path))
    model.graph.input.append(helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, ["rank"]))
    onnx.save(model, path)
    (conv,) = (o for o in analyze("onnx", path).operators if o.type == "Conv")
    assert conv.kernel == "depthwise_conv"


def loop(path, passes):
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, [1, 4]),
        ],
        [numpy_helper.from_array(weight(4, 4), "w")],
    )
    nodes = [helper.make_node("Loop", ["count", "", "x"], ["y"], name="loop", body=body)]
    stored = {} if passes is None else {"count": np.array(passes)}
    path = save(path, nodes, {"x": [1, 4]}, {"y": [1, 4]}, stored)
    if passes is None:
        model = onnx.load(str(path))
        model.graph.input.append(helper.make_tensor_value_info("count", onnx.TensorProto.INT64, []))
        onnx.save(model, path)
    return path


def test_a_loop_is_counted_once_for_each_pass(tmp_path):
    found = analyze("onnx", loop(tmp_path / "net.onnx", 3))
    assert (found.macs, found.parameters, found.notes) == (3 * 16, 16, ())


def test_a_loop_of_unknown_length_is_counted_once_and_said(tmp_path):
    found = analyze("onnx", loop(tmp_path / "net.onnx", None))
    assert found.macs == 16
    assert found.notes == ('The body of the Loop "loop" is counted once: the file does not say how often it runs.',)


def test_a_long_loop_is_counted_in_part_and_said(tmp_path):
    found = analyze("onnx", loop(tmp_path / "net.onnx", 1000))
    assert found.macs == 256 * 16
    assert found.notes == ('The Loop "loop" runs its body 1000 times; 256 of them are counted.',)


def test_a_branch_that_is_not_taken_lies_in_the_file_and_costs_no_time(tmp_path):
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", FLOAT, [1, 4])],
            [numpy_helper.from_array(weight(4, 4), f"{name}_w")],
        )
        for name in ("then", "else")
    }
    nodes = [helper.make_node("If", ["go"], ["y"], name="choice", **bodies)]
    path = save(tmp_path / "net.onnx", nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"go": np.array(True)})
    found = analyze("onnx", path)
    assert (found.macs, found.parameters) == (16, 32)
    assert {o.type: o.weights for o in found.operators} == {
        "MatMul": ("y/then_branch/then_w",),
        "If": ("y/else_branch/else_w",),
    }
