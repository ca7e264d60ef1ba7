"""Branches of an ONNX graph that the inputs' sizes decide."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.sources import onnx_branches
from edgekit.sources.onnx_branches import settle_branches
from tests.sources.test_onnx_file import capture

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


def rates(*pairs):
    """Returns a model that adds, for each pair, weights of one of two sizes to 4 samples; inputs choose which.

    What the sides make has the same name everywhere, as the standard allows.
    """
    from onnx import TensorProto, helper, numpy_helper

    def side(size, read, written):
        weight = numpy_helper.from_array(np.arange(size, dtype=np.float32), f"{written}_weight")
        made = helper.make_tensor_value_info(written, TensorProto.FLOAT, None)
        return helper.make_graph(
            [helper.make_node("Add", [read, weight.name], [written])], "side", [], [made], [weight]
        )

    names = ["x", *(f"y_{i}" for i in range(len(pairs)))]
    nodes = [
        helper.make_node(
            "If",
            [f"fast_{i}"],
            [names[i + 1]],
            name=f"rate_{i}",
            then_branch=side(first, names[i], "made"),
            else_branch=side(second, names[i], "made"),
        )
        for i, (first, second) in enumerate(pairs)
    ]
    fast = [helper.make_tensor_value_info(f"fast_{i}", TensorProto.BOOL, []) for i in range(len(pairs))]
    graph = helper.make_graph(
        nodes,
        "rates",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]), *fast],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, *conditions):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    fast = {f"fast_{i}": np.array(value) for i, value in enumerate(conditions)}
    return session.run(None, {"x": np.ones((1, 4), np.float32), **fast})[0]


@pytest.mark.parametrize(("pair", "side"), [((4, 8), "then_branch"), ((8, 4), "else_branch")])
def test_the_side_that_fits_takes_the_branchs_place(pair, side):
    model, settled = settle_branches(rates(pair))
    assert settled == (f"rate_0 ({side})",)
    assert [node.op_type for node in model.graph.node] == ["Add", "Identity"]
    for condition in (True, False):
        np.testing.assert_array_equal(run(model, condition), [[1, 2, 3, 4]])


def test_only_branches_that_do_not_fit_are_decided():
    model, settled = settle_branches(rates((4, 1), (8, 4)))
    assert settled == ("rate_1 (else_branch)",)
    np.testing.assert_array_equal(run(model, True, True), [[1, 3, 5, 7]])
    np.testing.assert_array_equal(run(model, False, True), [[1, 2, 3, 4]])


def test_branches_that_depend_on_each_other_are_decided_together():
    _, settled = settle_branches(rates((4, 8), (8, 4)))
    assert settled == ("rate_0 (then_branch)", "rate_1 (else_branch)")


@pytest.mark.parametrize("pairs", [((4, 1),), ((8, 8),)], ids=["both sides fit", "no side fits"])
def test_a_graph_stays_as_it_is_where_sizes_decide_nothing(pairs):
    given = rates(*pairs)
    model, settled = settle_branches(given)
    assert settled == ()
    assert model is given


def test_sizes_decide_nothing_where_two_choices_would_do(monkeypatch):
    """No graph of this kind is known; a wrong guess would change what the model computes."""
    given = rates((4, 8), (8, 4))
    monkeypatch.setattr(onnx_branches, "_loads", lambda model: sum(n.op_type == "If" for n in model.graph.node) == 1)
    model, settled = settle_branches(given)
    assert settled == ()
    assert model is given


@pytest.mark.parametrize("as_torch", [False, True], ids=["onnx", "torch"])
def test_a_capture_says_what_was_decided(tmp_path, as_torch):
    """onnxruntime refuses the file itself at these sizes; the importer into torch refuses branches on inputs."""
    record = capture(tmp_path, rates((4, 8)), as_torch=as_torch)
    assert record["settled_branches"] == ["rate_0 (then_branch)"]
    assert [spec["name"] for spec in record["inputs"]] == ["x", "fast_0"]
