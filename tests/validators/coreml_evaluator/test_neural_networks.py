"""Neural networks (`.mlmodel`) from coremltools' own builder and converter, against torch."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.errors import ArtifactError
from edgekit.validators import coreml_evaluator
from edgekit.validators.coreml_evaluator.neural_network.stored_weights import read_weights

pytest.importorskip("coremltools")
RNG = np.random.default_rng(0)


def values(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def built(path, inputs, outputs, add, **settings):
    """Saves what `add(builder)` adds between inputs and outputs {name: shape}, and loads it."""
    from coremltools.models import MLModel, datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    arrays = [[(name, datatypes.Array(*shape)) for name, shape in features.items()] for features in (inputs, outputs)]
    builder = NeuralNetworkBuilder(*arrays, **settings)
    add(builder)
    MLModel(builder.spec, skip_model_load=True).save(str(path / "net.mlmodel"))
    return coreml_evaluator.load(path / "net.mlmodel")


def converted(path, module, shape):
    import coremltools

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module.eval(), torch.zeros(shape), check_trace=False)
        model = coremltools.convert(
            traced,
            inputs=[coremltools.TensorType(name="x", shape=shape)],
            convert_to="neuralnetwork",
            minimum_deployment_target=coremltools.target.iOS14,
        )
    model.save(str(path / "net.mlmodel"))
    return coreml_evaluator.load(path / "net.mlmodel")


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Hardswish(), nn.MaxPool2d(2), nn.ConvTranspose2d(8, 8, 2, 2), nn.GELU(),
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        y = self.norm(self.body(x).flatten(2).transpose(1, 2))
        return self.head((y @ y.transpose(1, 2)).softmax(-1) @ y).mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.one = nn.LSTM(4, 6, batch_first=True, bidirectional=True), nn.LSTM(12, 5, batch_first=True)

    def forward(self, x):
        return self.one(self.both(x)[0])[0][:, -1]


@pytest.mark.parametrize(("module", "shape"), [(Convolutional, (1, 3, 8, 8)), (Recurrent, (1, 5, 4))])
def test_a_converted_network_computes_what_torch_does(tmp_path, module, shape):
    torch.manual_seed(0)
    net = module()
    program = converted(tmp_path, net, shape)
    x = torch.from_numpy(values(*shape))
    with torch.no_grad():
        expected = net(x).numpy()
    (got,) = program.run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert sum(one["macs"] for one in program.described_operators) > 0


def test_an_old_network_has_channels_height_and_width_and_pictures_are_scaled(tmp_path):
    """An image classifier as Xcode's first tools wrote it: padding "same", integers with scales, labels."""
    weight, dense = values(3, 3, 2, 4), values(3, 4)

    def add(builder):
        builder.add_convolution("conv", 2, 4, 3, 3, 2, 2, "same", 1, weight, values(4) * 0, True, input_name="x",
                                output_name="c")  # fmt: skip
        builder.add_activation("leaky", "LEAKYRELU", "c", "l", [0.1])
        builder.add_pooling("pool", 1, 1, 1, 1, "AVERAGE", "VALID", "l", "p", is_global=True)
        builder.add_flatten("flat", 0, "p", "f")
        builder.add_inner_product("dense", dense, None, 4, 3, False, "f", "s")
        builder.add_softmax("soft", "s", "y")
        builder.set_class_labels(["cat", "dog", "owl"], "label", "y")

    program = built(tmp_path, {"x": (2, 6, 6)}, {"y": (3,)}, add, mode="classifier")
    x = values(2, 6, 6)
    kernel = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy())
    # 6 in, 3 out, stride 2: one row of padding, and Core ML puts it behind.
    c = functional.leaky_relu(
        functional.conv2d(functional.pad(torch.from_numpy(x)[None], (0, 1, 0, 1)), kernel, stride=2), 0.1
    )
    expected = (torch.from_numpy(dense) @ c.mean((2, 3))[0]).softmax(0).numpy()
    got = program.run({"x": x})
    np.testing.assert_allclose(got["y"].reshape(-1), expected, atol=1e-5)
    assert got["label"][0] == ("cat", "dog", "owl")[int(expected.argmax())]
    assert program.class_labels == ("cat", "dog", "owl")


def recurrent_parts(size, inputs):
    gates = [values(size, inputs) for _ in range(3)], [values(size, size) for _ in range(3)], [values(size)] * 3
    return [list(part) for part in gates]


def test_a_recurrent_layer_takes_and_gives_its_state(tmp_path):
    """A GRU cell by hand: the reset gate acts before the product, as the file format defines it."""
    w, r, b = recurrent_parts(3, 2)
    program = built(
        tmp_path,
        {"x": (2,), "h": (3,)},
        {"y": (3,), "h_out": (3,)},
        lambda builder: builder.add_gru("gru", r, w, b, 3, 2, ["x", "h"], ["y", "h_out"], inner_activation="SIGMOID"),
    )
    x, h = values(2), values(3)
    z = 1 / (1 + np.exp(-(w[0] @ x + r[0] @ h + b[0])))
    reset = 1 / (1 + np.exp(-(w[1] @ x + r[1] @ h + b[1])))
    candidate = np.tanh(w[2] @ x + r[2] @ (reset * h) + b[2])
    expected = (1 - z) * candidate + z * h
    got = program.run({"x": x, "h": h})
    np.testing.assert_allclose(got["y"].reshape(-1), expected, atol=1e-5)
    np.testing.assert_allclose(got["h_out"].reshape(-1), expected, atol=1e-5)


SIMPLE = {
    "unary": (
        lambda b: b.add_unary("u", "x", "y", "power", alpha=2.0, shift=1.0, scale=0.5),
        lambda x: (x / 2 + 1) ** 2,
    ),
    "threshold": (lambda b: b.add_unary("u", "x", "y", "threshold", alpha=0.1), lambda x: np.maximum(x, 0.1)),
    "add": (lambda b: b.add_elementwise("a", "x", "y", "ADD", alpha=1.5), lambda x: x + 1.5),
    "average": (lambda b: b.add_elementwise("a", ["x", "x"], "y", "AVE"), lambda x: x),
    "scale": (
        lambda b: b.add_scale("s", np.array([2.0, 3.0]), np.array([1.0]), True, "x", "y", [2], [1]),
        lambda x: x * np.array([2, 3]).reshape(2, 1, 1) + 1,
    ),
    "bias": (
        lambda b: b.add_bias("s", np.array([2.0, 3.0]), "x", "y", [2]),
        lambda x: x + np.array([2, 3])[:, None, None],
    ),
    "permute": (lambda b: b.add_permute("p", (0, 1, 3, 2), "x", "y"), lambda x: x.transpose(0, 2, 1)),
    "nearest": (lambda b: b.add_upsample("u", 2, 2, "x", "y", "NN"), lambda x: x.repeat(2, 1).repeat(2, 2)),
    "slice": (lambda b: b.add_slice("s", "x", "y", "height", 1, 3, 1), lambda x: x[:, 1:3]),
    "crop": (lambda b: b.add_crop("c", 1, 0, 0, 1, 0, ["x"], "y"), lambda x: x[:, :-1, 1:]),
    "reflection": (
        lambda b: b.add_padding("p", 1, 0, 0, 0, 0, "x", "y", "reflection"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0)), "reflect"),
    ),
    "mvn": (
        lambda b: b.add_mvn("m", "x", "y", False, True, 1e-5),
        lambda x: (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5),
    ),
    "concat": (lambda b: b.add_elementwise("c", ["x", "x"], "y", "CONCAT"), lambda x: np.concatenate([x, x])),
    "reduce": (lambda b: b.add_reduce("r", "x", "y", "C", "max"), lambda x: x.max(0, keepdims=True)),
    "constant": (
        lambda b: [
            b.add_load_constant("k", "k", np.full(2, 3.0), [2, 1, 1]),
            b.add_elementwise("m", ["x", "k"], "y", "MULTIPLY"),
        ],
        lambda x: x * 3,
    ),
    "l2": (lambda b: b.add_l2_normalize("n", "x", "y", 1e-6), lambda x: x / np.sqrt((x * x).sum() + 1e-6)),
    "elu": (lambda b: b.add_activation("e", "ELU", "x", "y", 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "prelu": (
        lambda b: b.add_activation("e", "PRELU", "x", "y", np.array([0.1, 0.2])),
        lambda x: np.where(x > 0, x, x * np.array([0.1, 0.2])[:, None, None]),
    ),
    "reshape": (lambda b: b.add_reshape("r", "x", "y", (8, 2, 2), 0), lambda x: x.reshape(8, 2, 2)),
    "flatten": (lambda b: b.add_flatten("f", 1, "x", "y"), lambda x: x.transpose(1, 2, 0).reshape(-1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
def test_a_layer_computes_what_the_format_says(tmp_path, name):
    add, expected = SIMPLE[name]
    x = values(2, 4, 4)
    wanted = np.asarray(expected(x), np.float32)
    program = built(tmp_path, {"x": x.shape}, {"y": wanted.shape}, add)
    got = program.run({"x": x})["y"]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_in_integers_are_scaled_and_count_their_bits(tmp_path, bits):
    from coremltools.models import MLModel
    from coremltools.models.neural_network.quantization_utils import quantize_weights

    weight = values(4, 6)
    built(tmp_path, {"x": (6,)}, {"y": (4,)}, lambda b: b.add_inner_product("d", weight, None, 6, 4, False, "x", "y"))
    small = quantize_weights(MLModel(str(tmp_path / "net.mlmodel"), skip_model_load=True), bits, "linear")
    small = MLModel(small, skip_model_load=True) if not isinstance(small, MLModel) else small
    small.save(str(tmp_path / "small.mlmodel"))
    program = coreml_evaluator.load(tmp_path / "small.mlmodel")
    x = values(6)
    step = (weight.max(1) - weight.min(1)).max() / (2**bits - 1)
    assert np.abs(program.run({"x": x})["y"].reshape(-1) - weight @ x).max() <= 0.51 * step * np.abs(x).sum()
    assert [one["weight_bits"] for one in program.described_operators if one["macs"]] == [bits]


def test_layers_that_are_lacking_are_all_named_once(tmp_path):
    def add(builder):
        builder.add_reorganize_data("a", "x", "r", "SPACE_TO_DEPTH", 2)
        builder.add_reorganize_data("b", "r", "s", "DEPTH_TO_SPACE", 2)
        builder.add_custom("own", ["s"], ["y"]).custom.className = "Mine"

    with pytest.raises(ArtifactError) as caught:
        built(tmp_path, {"x": (2, 4, 4)}, {"y": (2, 4, 4)}, add)
    assert caught.value.message == (
        f'{tmp_path / "net.mlmodel"}: The Core ML evaluator lacks reorganizeData (layer "a"), custom layers of class '
        '"Mine". Validate this model on a Mac, or replace what the model uses there.'
    )


def test_weights_of_another_number_are_refused():
    from edgekit.validators.coreml_evaluator.protobuf_classes import protobuf_classes

    spec = protobuf_classes().model.Model()
    weights = spec.neuralNetwork.layers.add().innerProduct.weights
    weights.floatValue.extend([1.0, 2.0])
    message = 'Layer "d" holds 2 weights, and its shape [3] needs 3. The file is corrupt: export it again.'
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        read_weights(weights, (3,), layer="d")
