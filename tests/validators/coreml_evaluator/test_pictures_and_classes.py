"""Packages as apps have them: pictures in, a label and its probability out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgekit.validators.coreml_evaluator import load
from edgekit.validators.runners.coreml_session import Runtime, _AppleSession

RNG = np.random.default_rng(4)
DENSE = RNG.normal(0, 0.3, (3, 3)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (1, 3, 4, 5), dtype=np.uint8)


def classifier(order, labels):
    """Returns a builder of a classifier of pictures whose channels come in an order."""

    def build(ct, mb):
        @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 5))], opset_version=ct.target.iOS15)
        def program(picture):
            pooled = mb.reduce_mean(x=mb.mul(x=picture, y=1 / 255.0), axes=[2, 3])
            return mb.softmax(x=mb.linear(x=pooled, weight=DENSE), axis=-1, name="scores")

        return ct.convert(
            program,
            source="milinternal",
            inputs=[ct.ImageType("picture", shape=(1, 3, 4, 5), color_layout=order)],
            classifier_config=ct.ClassifierConfig(labels),
            minimum_deployment_target=ct.target.iOS15,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )

    return build


PACKAGES = {"words": classifier("BGR", ["cat", "dog", "owl"]), "numbers": classifier("RGB", [7, 3, 5])}


def expected(pixels):
    pooled = torch.from_numpy(pixels.astype(np.float32) / 255).mean((2, 3))
    return torch.softmax(pooled @ torch.from_numpy(DENSE).T, -1).numpy()


@pytest.mark.parametrize(("name", "labels"), [("words", ("cat", "dog", "owl")), ("numbers", ("7", "3", "5"))])
def test_labels_of_a_classifier_are_read_in_the_order_of_its_probabilities(packages, name, labels):
    assert load(packages / f"{name}.mlpackage").class_labels == labels


def test_a_session_takes_pixels_and_gives_probabilities_and_the_place_of_the_label(packages):
    session = Runtime("", "evaluator", 1).open(str(packages / "words.mlpackage"))
    assert session.inputs == [
        {"name": "picture", "shape": [1, 3, 4, 5], "dtype": "uint8", "layout": "NCHW", "scale": 1.0, "zero_point": 0}
    ]
    assert [(spec["shape"], spec["dtype"]) for spec in session.outputs] == [([1, 3], "float32"), ([1], "int64")]
    assert session.metadata["labels"] == "cat\ndog\nowl"
    assert session.metadata["edgekit.preprocessing"] == (
        '{"resize": null, "mean": [0.0], "std": [1.0], "color": "rgb"}'
    )
    probabilities, label = session.run([PIXELS])
    wanted = expected(PIXELS[:, ::-1].copy())  # the model wants BGR, and apps have RGB
    np.testing.assert_allclose(probabilities, wanted, atol=1e-6)
    assert label.tolist() == [int(wanted.argmax())]


def test_apples_runtime_gets_a_picture_and_its_dictionary_becomes_an_array(packages):
    path = packages / "numbers.mlpackage"
    given = {}

    class Model:
        def __init__(self, opened, function_name):
            assert (opened, function_name) == (str(path), None)

        def predict(self, values, state):
            assert state is None
            given.update(values)
            return {"classLabel": 3, "classLabel_probs": {7: 0.2, 3: 0.5, 5: 0.3}}

    session = _AppleSession(SimpleNamespace(models=SimpleNamespace(MLModel=Model)), str(path), "")
    probabilities, label = session.run([PIXELS])
    assert given["picture"].size == (5, 4)
    assert np.array_equal(np.asarray(given["picture"]), PIXELS[0].transpose(1, 2, 0))
    np.testing.assert_allclose(probabilities, [[0.2, 0.5, 0.3]], atol=1e-7)
    assert label.tolist() == [1]
