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


BOXES = np.array([[0.5, 0.5, 0.2, 0.2], [0.51, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]], np.float32)
SCORES = np.array([[0.9, 0, 0], [0.8, 0, 0], [0.6, 0, 0], [0.1, 0.2, 0]], np.float32)


def detector(ct, mb):
    """Returns a program with boxes, two of which overlap, and an output of its own."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 5))], opset_version=ct.target.iOS15)
    def program(picture):
        raw = mb.reduce_mean(x=picture, axes=[2, 3], name="raw")
        nothing = mb.mul(x=mb.reduce_mean(x=raw, axes=[0, 1]), y=0.0)
        confidence = mb.add(x=nothing, y=SCORES, name="every_confidence")
        return raw, confidence, mb.add(x=nothing, y=BOXES, name="every_coordinates")

    return ct.convert(
        program,
        source="milinternal",
        inputs=[ct.ImageType("picture", shape=(1, 3, 4, 5))],
        minimum_deployment_target=ct.target.iOS15,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )


def pipeline(plain, path, *, more):
    """Returns the package of a detector with suppression behind it; `more` keeps its own output."""
    import coremltools as ct

    from edgekit.converters.coreml_pipeline import Suppression
    from edgekit.converters.to_coreml_package import write_package

    model = ct.models.MLModel(str(plain), skip_model_load=True)
    spec = model.get_spec()
    if not more:
        del spec.description.output[0]
        outputs = spec.mlProgram.functions["main"].block_specializations["CoreML5"].outputs
        del outputs[0]
        model = ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)
    write_package(
        model, {"labels": "cat\ndog\nowl"}, path, Suppression(labels=("cat", "dog", "owl"), iou=0.5, score=0.3)
    )
    return path


PACKAGES = {
    "plain": detector,
    "words": classifier("BGR", ["cat", "dog", "owl"]),
    "numbers": classifier("RGB", [7, 3, 5]),
}


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


@pytest.mark.filterwarnings("ignore")  # coremltools warns while it is imported
def test_of_a_detector_with_suppression_the_detector_is_run(packages, tmp_path):
    path = pipeline(packages / "plain.mlpackage", tmp_path / "detector.mlpackage", more=True)
    session = Runtime("", "evaluator", 1).open(str(path))
    assert [spec["name"] for spec in session.outputs] == ["raw"]
    assert session.metadata["labels"] == "cat\ndog\nowl"
    (raw,) = session.run([PIXELS])
    np.testing.assert_allclose(raw, PIXELS.mean((2, 3)), rtol=1e-5)
    found = load(path).detect({"picture": PIXELS.astype(np.float32)})
    assert [found[name].tolist() for name in ("confidence", "coordinates")] == [
        [[pytest.approx(0.9), 0, 0], [pytest.approx(0.6), 0, 0]],
        [pytest.approx([0.5, 0.5, 0.2, 0.2]), pytest.approx([0.1, 0.1, 0.1, 0.1])],
    ]


@pytest.mark.filterwarnings("ignore")  # coremltools warns while it is imported
def test_apples_runtime_runs_the_detector_too(packages, tmp_path):
    path = pipeline(packages / "plain.mlpackage", tmp_path / "detector.mlpackage", more=True)

    class Model:
        def __init__(self, opened, weights_dir):
            assert opened.WhichOneof("Type") == "mlProgram"
            assert weights_dir == str(path / "Data/com.apple.CoreML/weights")

        def predict(self, values, state):
            return {name: np.full((1, 3), 2.0) for name in ("raw", "every_confidence", "every_coordinates")}

    session = _AppleSession(SimpleNamespace(models=SimpleNamespace(MLModel=Model)), str(path), "")
    assert [spec["name"] for spec in session.outputs] == ["raw"]
    assert [array.tolist() for array in session.run([PIXELS])] == [[[2, 2, 2]]]


@pytest.mark.filterwarnings("ignore")  # coremltools warns while it is imported
def test_a_detector_that_gives_nothing_but_boxes_gives_all_of_them(packages, tmp_path):
    path = pipeline(packages / "plain.mlpackage", tmp_path / "detector.mlpackage", more=False)
    session = Runtime("", "evaluator", 1).open(str(path))
    assert [spec["name"] for spec in session.outputs] == ["every_confidence", "every_coordinates"]
