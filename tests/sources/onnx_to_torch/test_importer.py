"""Whole graphs through the importer: round trips from torch, names, branches, and what is told when it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from edgekit.errors import ModelError
from edgekit.sources.onnx_to_torch.importer import import_model


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=8),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        y = nn.functional.hardswish(self.features(x))
        y = nn.functional.interpolate(y, scale_factor=2.0, mode="bilinear")
        return self.head(y.mean((2, 3))).softmax(-1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 16), nn.Embedding(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")

    def forward(self, ids: Any, mask: Any) -> Any:
        places = torch.arange(ids.shape[1])
        hidden = self.layer(self.words(ids) + self.places(places), src_key_padding_mask=mask == 0)
        return (hidden * mask[:, :, None].float()).sum(1), hidden


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(10, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        out, _ = self.gru(self.lstm(x)[0])
        return out[:, -1] / out.norm(dim=(1, 2))


IDS = torch.tensor([[3, 1, 19, 0, 7, 2]])
MODELS = {
    "cnn": (Cnn, (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)),
    "transformer": (Block, (IDS, torch.tensor([[1, 1, 1, 1, 0, 0]]))),
    "lstm": (Lstm, (torch.rand(1, 7, 6, generator=torch.Generator().manual_seed(0)),)),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns a function that exports one of MODELS to ONNX once and returns (module, inputs, ModelProto)."""
    made: dict[str, Any] = {}

    def export(name: str) -> Any:
        if name not in made:
            torch.manual_seed(0)
            build, inputs = MODELS[name]
            module = build().eval()
            path: Path = tmp_path_factory.mktemp(name) / "net.onnx"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the exporter's own, of several kinds
                torch.onnx.export(module, inputs, str(path), dynamo=True, external_data=False, verbose=False)
            made[name] = (module, inputs, onnx.load(str(path)))
        return made[name]

    return export


@pytest.mark.parametrize("name", MODELS)
def test_a_round_trip_through_onnx_keeps_the_outputs(exported, name):
    module, inputs, model = exported(name)
    imported, _ = import_model(model, "net.onnx")
    with torch.no_grad():
        torch.testing.assert_close(imported(*inputs), module(*inputs), rtol=1e-4, atol=1e-4)


def test_modules_keep_the_names_that_torchs_exporter_wrote(exported):
    _, _, model = exported("cnn")
    imported, _ = import_model(model, "net.onnx")
    names = {name for name, _ in imported.named_parameters()}
    assert {"features.4.conv2d_1.weight", "features.4.conv2d_1.bias", "head.linear.weight", "head.linear.bias"} <= names


FLOAT = onnx.TensorProto.FLOAT


def model_of(
    nodes: list[Any], weights: dict[str, Any], outputs: int = 1, opset: int = 17, **inputs: Any
) -> onnx.ModelProto:
    given = inputs or {"x": (1, 4)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in given.items()],
        [helper.make_tensor_value_info(f"y{i}" if i else "y", FLOAT, None) for i in range(outputs)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def matrix(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_names_of_nodes_become_names_of_modules():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="/encoder/0/query/MatMul"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="/encoder/0/query/MatMul"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name=""),
    ]
    module, _ = import_model(model_of(nodes, {"w": matrix(4, 4)}), "net.onnx")
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    assert names == ["encoder.0.query.MatMul.weight", "encoder.0.query.MatMul_1.weight", "MatMul_y.weight"]


def test_names_that_clash_with_methods_or_weights_are_moved_aside():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="forward/MatMul"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="one"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="one/weight/two"),
    ]
    module, _ = import_model(model_of(nodes, {"w": matrix(4, 4)}), "net.onnx")
    assert [name for name, _ in module.named_parameters(remove_duplicate=False)] == [
        *("forward_.MatMul.weight", "one.weight", "one.weight_.two.weight")
    ]


def test_a_bias_behind_a_product_becomes_the_layers():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], name="head"), helper.make_node("Add", ["b", "a"], ["y"])]
    values = {"w": matrix(4, 3), "b": matrix(3)}
    module, (x,) = import_model(model_of(nodes, values), "net.onnx")
    assert [name for name, _ in module.named_parameters()] == ["head.weight", "head.bias"]
    np.testing.assert_allclose(module(x).numpy(), x.numpy() @ values["w"] + values["b"], rtol=1e-5)


@pytest.mark.parametrize("shape", [(1,), (2, 3), (1, 3)], ids=["number", "matrix", "row"])
def test_another_constant_behind_a_product_stays_an_addition(shape):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], name="head"), helper.make_node("Add", ["a", "b"], ["y"])]
    values = {"w": matrix(4, 3), "b": matrix(*shape)}
    module, (x,) = import_model(model_of(nodes, values), "net.onnx")
    np.testing.assert_allclose(module(x).numpy(), x.numpy() @ values["w"] + values["b"], rtol=1e-5)
    assert "head.bias" not in dict(module.named_parameters())


def test_a_product_that_is_read_twice_keeps_its_value():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y1"], name="head"),
        helper.make_node("Add", ["y1", "b"], ["y"]),
    ]
    values = {"w": matrix(4, 3), "b": matrix(3)}
    module, (x,) = import_model(model_of(nodes, values, outputs=2), "net.onnx")
    plain = x.numpy() @ values["w"]
    np.testing.assert_allclose(module(x)[0].numpy(), plain + values["b"], rtol=1e-5)
    np.testing.assert_allclose(module(x)[1].numpy(), plain, rtol=1e-5)


def test_what_depends_on_no_input_is_computed_at_import():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["m"]),
        helper.make_node("Concat", ["m", "twos", "twos"], ["f"], axis=0),
        helper.make_node("Reshape", ["x", "f"], ["y"], name="reshape"),
    ]
    weights = {"zero": np.int64(0), "zeros": np.array([0]), "twos": np.array([2])}
    module, (x,) = import_model(model_of(nodes, weights), "net.onnx")
    assert module(x).shape == (1, 2, 2)
    assert [name for name, _ in module.named_children()] == ["reshape"]


def branch(name: str, operator: str) -> Any:
    output = helper.make_tensor_value_info(f"{name}_y", FLOAT, None)
    return helper.make_graph([helper.make_node(operator, ["x"], [f"{name}_y"])], name, [], [output])


@pytest.mark.parametrize(("condition", "expected"), [(True, -3.0), (False, 3.0)], ids=["then", "else"])
def test_the_branch_of_a_constant_condition_is_taken(condition, expected):
    node = helper.make_node("If", ["c"], ["a"], then_branch=branch("t", "Neg"), else_branch=branch("e", "Abs"))
    nodes = [node, helper.make_node("Identity", ["a"], ["y"])]
    module, _ = import_model(model_of(nodes, {"c": np.array(condition)}), "net.onnx")
    assert float(module(torch.full((1, 4), 3.0))[0, 0]) == expected


def test_an_output_that_depends_on_no_input_is_returned():
    nodes = [helper.make_node("Identity", ["w"], ["y"]), helper.make_node("Neg", ["x"], ["y1"])]
    module, (x,) = import_model(model_of(nodes, {"w": matrix(2)}, outputs=2), "net.onnx")
    np.testing.assert_array_equal(module(x)[0].numpy(), matrix(2))


def test_functions_of_the_model_are_inlined():
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="mine")], {})
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    module, (x,) = import_model(model, "net.onnx")
    torch.testing.assert_close(module(x), x + x)


def test_half_precision_weights_become_float32():
    module, (x,) = import_model(
        model_of([helper.make_node("Add", ["x", "w"], ["y"], name="add")], {"w": matrix(4).astype(np.float16)}),
        "net.onnx",
    )
    assert module(x).dtype == torch.float32


def message_of(model: onnx.ModelProto) -> str:
    with pytest.raises(ModelError) as caught:
        import_model(model, "net.onnx")
    return caught.value.message


def test_unknown_operators_are_all_named():
    nodes = [
        helper.make_node("NonMaxSuppression", ["x"], ["a"]),
        helper.make_node("FusedMatMul", ["a"], ["b"], domain="com.microsoft"),
        helper.make_node("Det", ["b"], ["y"]),
    ]
    assert message_of(model_of(nodes, {})) == (
        'net.onnx holds operators that the importer into torch does not know: Det (node "y"), NonMaxSuppression '
        '(node "a"), com.microsoft.FusedMatMul (node "b"). '
        "Export to format onnx, which needs no import; or rebuild these parts from other "
        "operators; or give the model that the file was made from."
    )


def test_a_newer_opset_is_refused():
    assert message_of(model_of([helper.make_node("Relu", ["x"], ["y"])], {}, opset=27)) == (
        "net.onnx uses ONNX opset 27; the importer into torch knows 11 to 26. Export it again with one of these, or "
        "give the model that the file was made from. Format onnx needs no import."
    )


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 21, 23, 26])
def test_a_graph_of_any_other_opset_is_imported(opset):
    module, (x,) = import_model(model_of([helper.make_node("Relu", ["x"], ["y"])], {}, opset=opset), "net.onnx")
    assert torch.equal(module(x), x.relu())


def test_an_old_opset_that_cannot_be_raised_is_reported():
    got = message_of(model_of([helper.make_node("Cast", ["x"], ["y"], to="FLOAT")], {}, opset=5))
    assert got.startswith("net.onnx uses ONNX opset 5 and cannot be raised to 17: ")
    assert got.endswith("or give the model that the file was made from. Format onnx needs no import.")


def lstm(**attributes: Any) -> tuple[Any, dict[str, Any]]:
    weights = {
        "w": matrix(1, 12, 4),
        "r": matrix(1, 12, 3),
        "b": matrix(1, 24),
        "p": matrix(1, 9),
        "l": np.array([2], dtype=np.int32),
    }
    names = ["x", "w", "r", "b", "", "", "", ""]
    for key, i in (("lengths", 4), ("peepholes", 7)):
        if attributes.pop(key, False):
            names[i] = {"lengths": "l", "peepholes": "p"}[key]
    return helper.make_node("LSTM", names, ["y"], name="rnn", hidden_size=3, **attributes), weights


CANNOT = {
    "dynamic-shape": (
        helper.make_node("Reshape", ["x", "s"], ["y"], name="n"),
        {"x": (1, 4), "s": (2,)},
        {},
        "Reshape",
        "its shape depends on the model's inputs; it must be constant",
    ),
    "dynamic-values": (
        helper.make_node("NonZero", ["x"], ["y"], name="n"),
        {"x": (1, 4)},
        {},
        "NonZero",
        "the shape of its output depends on values",
    ),
    "training-norm": (
        helper.make_node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"], name="n", training_mode=1),
        {"x": (1, 4)},
        {"w": matrix(4)},
        "BatchNormalization",
        "it is a batch norm in training mode; export the model in inference mode",
    ),
    "training-dropout": (
        helper.make_node("Dropout", ["x", "r", "t"], ["y"], name="n"),
        {"x": (1, 4)},
        {"r": np.float32(0.5), "t": np.array(True)},
        "Dropout",
        "it is a dropout in training mode; export the model in inference mode",
    ),
    "pool-indices": (
        helper.make_node("MaxPool", ["x"], ["y", "y1"], name="n", kernel_shape=[2]),
        {"x": (1, 1, 4)},
        {},
        "MaxPool",
        "its second output, the indices, is used",
    ),
    "pool-axes": (
        helper.make_node("MaxPool", ["x"], ["y"], name="n", kernel_shape=[1] * 4),
        {"x": (1, 1, 4, 4, 4, 4)},
        {},
        "MaxPool",
        "it has 4 spatial axes; 1, 2 and 3 are supported",
    ),
    "conv-axes": (
        helper.make_node("Conv", ["x", "w"], ["y"], name="n"),
        {"x": (1, 1, 4, 4, 4, 4)},
        {"w": matrix(1, 1, 1, 1, 1, 1)},
        "Conv",
        "it has 4 spatial axes; 1, 2 and 3 are supported",
    ),
    "average-dilations": (
        helper.make_node("AveragePool", ["x"], ["y"], name="n", kernel_shape=[2], dilations=[2]),
        {"x": (1, 1, 4)},
        {},
        "AveragePool",
        "it is an average pool with dilations",
    ),
    "lp-pool": (
        helper.make_node("LpPool", ["x"], ["y"], name="n", kernel_shape=[2]),
        {"x": (1, 1, 4)},
        {},
        "LpPool",
        "it is an LpPool with dilations, ceil_mode, or other than 2 spatial axes",
    ),
    "transposed-padding": (
        helper.make_node(
            "ConvTranspose", ["x", "w", "b"], ["y"], name="n", strides=[2], pads=[1, 0], output_padding=[1]
        ),
        {"x": (1, 1, 4)},
        {"w": matrix(1, 1, 3), "b": matrix(1)},
        "ConvTranspose",
        "its output padding reaches past the computed values, where the bias is missing",
    ),
    "layer-norm-mean": (
        helper.make_node("LayerNormalization", ["x", "w"], ["y", "y1"], name="n"),
        {"x": (1, 4)},
        {"w": matrix(4)},
        "LayerNormalization",
        "its second output, the mean, is used",
    ),
    "even-lrn": (
        helper.make_node("LRN", ["x"], ["y"], name="n", size=2),
        {"x": (1, 4, 2, 2)},
        {},
        "LRN",
        "its size 2 is even, where ONNX and torch centre the window differently",
    ),
    "gather-batch": (
        helper.make_node("GatherND", ["x", "i"], ["y"], name="n", batch_dims=1),
        {"x": (1, 4)},
        {"i": np.array([[1]])},
        "GatherND",
        "it has batch_dims",
    ),
    "scatter-reduction": (
        helper.make_node("ScatterND", ["x", "i", "u"], ["y"], name="n", reduction="mul"),
        {"x": (1, 4)},
        {"i": np.array([[0]]), "u": matrix(1, 4)},
        "ScatterND",
        'its reduction is "mul"; none and add are supported',
    ),
    "resize-crop": (
        helper.make_node(
            "Resize", ["x", "r", "s"], ["y"], name="n", coordinate_transformation_mode="tf_crop_and_resize"
        ),
        {"x": (1, 1, 4, 4)},
        {"r": matrix(8), "s": np.array([1, 1, 2, 2], dtype=np.float32)},
        "Resize",
        'its coordinate_transformation_mode is "tf_crop_and_resize"',
    ),
    "resize-antialias": (
        helper.make_node("Resize", ["x", "", "s"], ["y"], name="n", mode="cubic", exclude_outside=1),
        {"x": (1, 1, 4, 4)},
        {"s": np.array([1, 1, 2, 2], dtype=np.float32)},
        "Resize",
        "it has antialias or exclude_outside",
    ),
    "constant-text": (
        helper.make_node("Constant", [], ["y"], name="n", value_string=b"a"),
        {"x": (1, 4)},
        {},
        "Constant",
        "it is a constant of text or a sparse constant",
    ),
    "cast-text": (
        helper.make_node("Cast", ["x"], ["y"], name="n", to=8),
        {"x": (1, 4)},
        {},
        "Cast",
        "its element type 8 (onnx.TensorProto.DataType) has no counterpart in torch here",
    ),
    "gru-reset": (
        helper.make_node("GRU", ["x", "w", "r"], ["y"], name="n", hidden_size=3),
        {"x": (5, 1, 4)},
        {"w": matrix(1, 9, 4), "r": matrix(1, 9, 3)},
        "GRU",
        "its linear_before_reset is 0; torch's layer resets after the product (Keras: reset_after=True)",
    ),
    "rnn-activation": (
        helper.make_node("RNN", ["x", "w", "r"], ["y"], name="n", hidden_size=3, activations=["Sigmoid"]),
        {"x": (5, 1, 4)},
        {"w": matrix(1, 3, 4), "r": matrix(1, 3, 3)},
        "RNN",
        "its activations are Sigmoid; torch's layer has the default ones only",
    ),
    "rnn-weights": (
        helper.make_node("RNN", ["x", "w", "r"], ["y"], name="n", hidden_size=3),
        {"x": (5, 1, 4), "w": (1, 3, 4)},
        {"r": matrix(1, 3, 3)},
        "RNN",
        "its weights depend on the model's inputs",
    ),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_node_that_torch_cannot_run_is_named_with_the_reason(name):
    node, inputs, weights, operator, reason = CANNOT[name]
    model = model_of([node], weights, outputs=len(node.output), **inputs)
    if name == "dynamic-shape":
        model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    assert message_of(model) == (
        f'net.onnx: the {operator} node "n" cannot be imported into torch: {reason}. '
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peepholes": True}, "it has peepholes, which torch's layer has not"),
        ({"lengths": True}, "its sequence_lens are shorter than the input"),
        ({"clip": 1.0}, "it has clip or input_forget, which torch's layer has not"),
        ({"input_forget": 1}, "it has clip or input_forget, which torch's layer has not"),
        (
            {"activations": ["Sigmoid", "Relu", "Tanh"]},
            "its activations are Sigmoid, Relu, Tanh; torch's layer has the default ones only",
        ),
    ],
    ids=["peepholes", "lengths", "clip", "input-forget", "activations"],
)
def test_an_lstm_that_torch_has_not_is_refused(settings, reason):
    node, weights = lstm(**settings)
    assert message_of(model_of([node], weights, x=(5, 1, 4))) == (
        f'net.onnx: the LSTM node "rnn" cannot be imported into torch: {reason}. '
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


def on_the_sum(then: Any, otherwise: Any, *more: Any) -> list[Any]:
    """Returns nodes of a branch that the sum of the input decides."""
    return [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["a" if more else "y"], name="if", then_branch=then, else_branch=otherwise),
        *more,
    ]


@pytest.mark.parametrize("names", ["te", "tt"], ids=["own names", "equal names"])
def test_of_a_branch_that_the_input_decides_both_sides_are_computed(names):
    more = helper.make_node("Exp", ["a"], ["y"])
    nodes = on_the_sum(branch(names[0], "Neg"), branch(names[1], "Sqrt"), more)
    module, _ = import_model(model_of(nodes, {}), "net.onnx")
    for value, expected in ((4.0, np.exp(-4.0)), (-4.0, np.nan)):
        np.testing.assert_allclose(module(torch.full((1, 4), value)), np.full((1, 4), expected), rtol=1e-6)


def test_sides_of_a_branch_may_hold_branches_and_weights_of_their_own():
    inner = on_the_sum(branch("t", "Neg"), branch("e", "Abs"), helper.make_node("Mul", ["a", "w"], ["side_y"]))
    output = helper.make_tensor_value_info("side_y", FLOAT, None)
    weights = numpy_helper.from_array(np.float32([[1, 2, 3, 4]]), "w")
    side = helper.make_graph(inner, "side", [], [output], [weights])
    outer = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["nonzero"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["nonzero"], ["y"], then_branch=side, else_branch=branch("o", "Cos")),
    ]
    module, _ = import_model(model_of(outer, {}), "net.onnx")
    np.testing.assert_array_equal(module(torch.full((1, 4), 2.0)), [[-2, -4, -6, -8]])
    np.testing.assert_array_equal(module(torch.full((1, 4), -2.0)), [[2, 4, 6, 8]])
    np.testing.assert_array_equal(module(torch.zeros(1, 4)), [[1, 1, 1, 1]])


def test_a_branch_on_the_input_whose_sides_have_other_shapes_is_refused():
    output = helper.make_tensor_value_info("t_y", FLOAT, None)
    turned = helper.make_graph([helper.make_node("Transpose", ["x"], ["t_y"])], "t", [], [output])
    assert message_of(model_of(on_the_sum(turned, branch("e", "Abs")), {})) == (
        'net.onnx: the If node "if" cannot be imported into torch: its condition depends on the model\'s inputs, and '
        "its sides make tensors of (4, 1) and (1, 4). "
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


def test_a_node_without_a_name_is_named_by_its_output():
    assert message_of(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": matrix(3, 3)})).startswith(
        "net.onnx: the MatMul node that makes y cannot be imported into torch: torch cannot run it ("
    )
