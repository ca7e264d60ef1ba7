"""Keras models and SavedModels become ONNX and TFLite: order, names and values are kept."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import ConversionError
from edgekit.formats.table import find_format
from edgekit.model import CapturedModel, TensorSpec
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.task.image_input import ImageInput
from edgekit.task.task import ImagePreprocessing
from edgekit.validators.runners.coreml_session import Runtime
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # TensorFlow warns at each step


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory):
    """A model with an image, token ids and two outputs, as .keras and SavedModel, with samples and its own outputs."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras

    folder = tmp_path_factory.mktemp("keras")
    keras.utils.set_random_seed(0)
    # The names are not in alphabetical order: a converter that sorts them would mix the inputs up.
    tokens = keras.Input((4,), batch_size=1, dtype="int64", name="tokens")
    image = keras.Input((6, 6, 3), batch_size=1, name="image")
    features = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, use_bias=False)(image))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(max_value=6)(features))
    joined = pooled + keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(16, 8)(tokens))
    model = keras.Model([tokens, image], [keras.layers.Dense(5, name="logits")(joined), joined])
    model.save(folder / "tiny.keras")
    model.export(folder / "saved", verbose=False)
    generator = np.random.default_rng(0)
    rows = [
        (generator.integers(0, 16, (1, 4)), generator.standard_normal((1, 6, 6, 3)).astype(np.float32))
        for _ in range(8)
    ]
    outputs = [[np.asarray(value) for value in model(list(row), training=False)] for row in rows]
    samples = write_samples(folder / "samples", ["tokens", "image"], rows)
    captured = CapturedModel(
        name="tiny",
        source="tiny.keras",
        source_kind="keras",
        kind="keras",
        path=folder / "tiny.keras",
        inputs=(
            TensorSpec(name="tokens", shape=(1, 4), dtype="int64"),
            TensorSpec(name="image", shape=(1, 6, 6, 3), dtype="float32", layout="NHWC"),
        ),
        outputs=(
            TensorSpec(name="logits", shape=(1, 5), dtype="float32"),
            TensorSpec(name="joined", shape=(1, 8), dtype="float32"),
        ),
        digest="0",
        parameters=1,
        macs=None,
        family="cnn",
    )
    return captured, samples.folder, rows, [np.concatenate(column) for column in zip(*outputs, strict=True)]


def _session(path):
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return names, lambda row: session.run(None, dict(zip(names, row, strict=True)))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    details, results = interpreter.get_input_details(), interpreter.get_output_details()

    def run(row):
        for detail, array in zip(details, row, strict=True):
            interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in results]

    return [detail["name"] for detail in details], run


@pytest.mark.parametrize(
    ("runtime", "kind", "precision", "least"),
    [
        pytest.param("onnx", "keras", "fp32", 90, id="onnx-keras-fp32"),
        pytest.param("onnx", "keras", "int8_static", 25, id="onnx-keras-int8"),
        pytest.param("onnx", "savedmodel", "fp32", 90, id="onnx-savedmodel-fp32"),
        pytest.param("tflite", "keras", "fp32", 90, id="tflite-keras-fp32"),
        pytest.param("tflite", "keras", "int8_static", 25, id="tflite-keras-int8"),
        pytest.param("tflite", "savedmodel", "fp32", 90, id="tflite-savedmodel-fp32"),
    ],
)
def test_inputs_and_outputs_keep_their_order_and_values(keras_model, sqnr, tmp_path, runtime, kind, precision, least):
    captured, samples, rows, expected = keras_model
    if kind == "savedmodel":
        # Its signature names its outputs by number.
        outputs = tuple(replace(spec, name=f"output_{i}") for i, spec in enumerate(captured.outputs))
        captured = replace(captured, kind="savedmodel", path=captured.path.with_name("saved"), outputs=outputs)
    one = converter(runtime)
    request = ConversionRequest(model=captured, recipe=Recipe(default=precision), calibration=samples, scratch=tmp_path)
    output = tmp_path / f"tiny{find_format(runtime).suffix}"
    conversion = one.run(request, output, silent)
    names, run = _session(output)
    made = [np.concatenate(column) for column in zip(*[run(row) for row in rows], strict=True)]
    assert names == ["tokens", "image"]
    assert [spec.name for spec in conversion.outputs] == [spec.name for spec in captured.outputs]
    assert [sqnr(*pair) > least for pair in zip(expected, made, strict=True)] == [True, True]


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_a_file_that_keras_cannot_read_is_named(keras_model, tmp_path, runtime):
    captured = replace(keras_model[0], path=tmp_path / "absent.keras")
    request = ConversionRequest(model=captured, recipe=Recipe(), calibration=None, scratch=tmp_path)
    with pytest.raises(ConversionError, match=rf"^tiny\.keras cannot become {runtime}: .*ValueError: File not found"):
        converter(runtime).run(request, tmp_path / "out", silent)


def test_the_transpose_in_front_of_an_image_model_moves_integers(keras_model, sqnr, tmp_path):
    captured, samples, rows, expected = keras_model
    request = ConversionRequest(
        model=captured, recipe=Recipe(default="int8_static"), calibration=samples, io="int8", scratch=tmp_path
    )
    conversion = converter("onnx").run(request, tmp_path / "tiny.onnx", silent)
    image = conversion.inputs[1]
    assert [spec.dtype for spec in conversion.inputs] == ["int64", "uint8"]
    _, run = _session(tmp_path / "tiny.onnx")
    stored = [np.clip(np.round(row[1] / image.scale) + image.zero_point, 0, 255).astype(np.uint8) for row in rows]
    made = np.concatenate([run((row[0], value))[0] for row, value in zip(rows, stored, strict=True)])
    result = conversion.outputs[0]
    assert sqnr(expected[0], (made.astype(np.float32) - result.zero_point) * result.scale) > 22


@pytest.fixture(scope="module")
def keras_picture(tmp_path_factory):
    """A model of one picture whose channels are blue, green, red, its pixels, and what it gives for them."""
    import keras

    folder = tmp_path_factory.mktemp("picture")
    keras.utils.set_random_seed(0)
    picture = keras.Input((6, 10, 3), batch_size=1, name="picture")
    features = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, padding="same")(picture))
    model = keras.Model(picture, keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(features)))
    model.save(folder / "net.keras")
    spec = TensorSpec(name="picture", shape=(1, 6, 10, 3), dtype="float32", layout="NHWC")
    image = ImageInput(
        spec=spec, steps=ImagePreprocessing(mean=(100.0, 110.0, 120.0), std=(60.0, 50.0, 55.0), color="bgr")
    )
    pixels = [np.random.default_rng(i).integers(0, 256, (1, 6, 10, 3), dtype=np.uint8) for i in range(8)]
    samples = write_samples(folder / "samples", ["picture"], ((image.values(row),) for row in pixels))
    captured = CapturedModel(
        name="net", source="net.keras", source_kind="keras", kind="keras", path=folder / "net.keras", inputs=(spec,),
        outputs=(TensorSpec(name="logits", shape=(1, 3), dtype="float32"),), digest="0", parameters=1, macs=None,
        family="cnn",
    )  # fmt: skip
    wanted = np.concatenate([np.asarray(model(image.values(row), training=False)) for row in pixels])
    return captured, image, samples.folder, pixels, wanted


@pytest.mark.parametrize(("precision", "least"), [("fp16", 45), ("int8_weights", 35), ("int8_static", 25)])
def test_a_keras_model_takes_a_picture_in_core_ml(keras_picture, sqnr, tmp_path, precision, least):
    captured, image, calibration, pixels, wanted = keras_picture
    recipe = Recipe(default=precision)
    request = ConversionRequest(
        model=captured, recipe=recipe, scratch=tmp_path, image=replace(image, labels=("a", "b", "c")),
        calibration=calibration if recipe.needs_calibration else None,
    )  # fmt: skip
    converter("coreml").run(request, tmp_path / "net.mlpackage", silent)
    session = Runtime("", "evaluator", 1).open(str(tmp_path / "net.mlpackage"))
    assert [(spec["name"], spec["shape"], spec["dtype"]) for spec in session.inputs] == [
        ("picture", [1, 3, 6, 10], "uint8")
    ]
    assert session.metadata["labels"] == "a\nb\nc"
    found = np.concatenate([session.run([row.transpose(0, 3, 1, 2)])[0] for row in pixels])
    assert sqnr(wanted, found) > least
