"""Loops of ONNX files become their turns, one after another, with one copy of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edgekit.errors import ModelError
from edgekit.sources.onnx_to_torch.importer import import_model

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def constant(name: str, value: Any) -> TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def recurrent(turns: int | str, *, until: str = "") -> onnx.ModelProto:
    """A cell h = tanh(x[i] W + h U) over rows of x (6, 4); returns the last h and all of them."""
    generator = np.random.default_rng(0)
    weights = {
        "W": generator.standard_normal((4, 5)).astype(np.float32),
        "U": generator.standard_normal((5, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["x", "i"], ["row"], axis=0),
        helper.make_node("Unsqueeze", ["row", "zero"], ["rows"]),
        helper.make_node("MatMul", ["rows", "W"], ["from_x"], name="cell/x"),
        helper.make_node("MatMul", ["h", "U"], ["from_h"], name="cell/h"),
        helper.make_node("Add", ["from_x", "from_h"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next"]),
        helper.make_node("Add", ["i", "one"], ["following"]),
        helper.make_node("Less", ["following", until or "four"], ["on"]),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("cond", BOOL, []),
            helper.make_tensor_value_info("h", FLOAT, [1, 5]),
        ],
        [
            helper.make_tensor_value_info("on", BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, [1, 5]),
            helper.make_tensor_value_info("next", FLOAT, [1, 5]),
        ],
        [constant("zero", np.array([0])), constant("one", np.int64(1)), constant("four", np.int64(4))],
    )
    loop = helper.make_node("Loop", [str(turns), "", "start"], ["last", "all"], name="loop", body=body)
    graph = helper.make_graph(
        [loop],
        "net",
        [helper.make_tensor_value_info("x", FLOAT, [6, 4]), helper.make_tensor_value_info("n", INT, [])],
        [helper.make_tensor_value_info("last", FLOAT, [1, 5]), helper.make_tensor_value_info("all", FLOAT, None)],
        [
            *(constant(name, value) for name, value in weights.items()),
            constant("start", np.zeros((1, 5), np.float32)),
            *([constant(str(turns), np.int64(turns))] if isinstance(turns, int) else []),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("turns", [3, 100], ids=["as many turns as it says", "until its condition ends it"])
def test_a_loop_gives_what_onnxruntime_gives(turns: int) -> None:
    model = recurrent(turns)
    module, _ = import_model(model, "net.onnx")
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    wanted = session.run(None, {"x": x, "n": np.array(0, np.int64)})
    found = module(torch.from_numpy(x), torch.tensor(0))
    assert len(wanted[1]) == min(turns, 4)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-5, atol=1e-6)


def test_the_turns_share_their_weights() -> None:
    module, _ = import_model(recurrent(3), "net.onnx")
    assert sum(parameter.numel() for parameter in module.parameters()) == 4 * 5 + 5 * 5 + 5
    program = torch.export.export(module, (torch.zeros(6, 4), torch.tensor(0)))
    stored = {tensor.data_ptr(): tensor.numel() for tensor in program.state_dict.values()}
    assert sum(stored.values()) == 4 * 5 + 5 * 5 + 5


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(recurrent("n"), "how often it runs depends on the model's inputs", id="count"),
        pytest.param(recurrent(9, until="n"), "how often it runs depends on the model's inputs", id="condition"),
        pytest.param(recurrent(0), "it never runs, and collects values", id="never"),
    ],
)
def test_a_loop_whose_turns_are_not_known_is_refused(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(ModelError) as raised:
        import_model(model, "net.onnx")
    assert raised.value.message == (
        f'net.onnx: the Loop node "loop" cannot be imported into torch: {reason}. '
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["on"]), helper.make_node("Neg", ["h"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("cond", BOOL, []),
            helper.make_tensor_value_info("h", FLOAT, [2]),
        ],
        [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("next", FLOAT, [2])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["many", "", "x"], ["y"], name="loop", body=body)],
        "net",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
        [constant("many", np.int64(1000))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_loop_of_too_many_turns_is_refused() -> None:
    with pytest.raises(ModelError) as raised:
        import_model(endless(), "net.onnx")
    assert raised.value.message == (
        'net.onnx: the Loop node "loop" cannot be imported into torch: it runs more than 512 times. '
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


@pytest.mark.parametrize("lengths", [[5, 5], [2, 4]], ids=["whole", "in part"])
@pytest.mark.parametrize("batch_axis", [0, 1])
def test_sequences_are_reversed(lengths: list[int], batch_axis: int) -> None:
    shape = [2, 5, 3] if batch_axis == 0 else [5, 2, 3]
    node = helper.make_node("ReverseSequence", ["x", "n"], ["y"], batch_axis=batch_axis, time_axis=1 - batch_axis)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, shape)],
        [constant("n", np.array(lengths))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    module, _ = import_model(model, "net.onnx")
    x = np.arange(30, dtype=np.float32).reshape(shape)
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(module(torch.from_numpy(x)).numpy(), wanted)
