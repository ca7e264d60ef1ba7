from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from edgekit.artifact import measure_files
from edgekit.converters.base import ConversionRequest
from edgekit.converters.to_coreml import CoreMLConverter
from edgekit.converters.to_coreml_program import artifact_specs
from edgekit.errors import ConversionError
from edgekit.model import TensorSpec
from edgekit.recipe import Recipe
from edgekit.validators import coreml_evaluator
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # coremltools warns while it is imported


@pytest.fixture(scope="module")
def convert(tiny, tmp_path_factory):
    """Returns a function that converts a tiny model; a conversion that was made before is not made again."""
    made = {}

    def run(name, recipe, io="float", *, again=False):
        key = (name, repr(recipe), io)
        if again or key not in made:
            made[key] = make(name, recipe, io)
        return made[key]

    def make(name, recipe, io):
        model = tiny(name)
        folder = tmp_path_factory.mktemp("conversion")
        request = ConversionRequest(
            model=model.captured,
            recipe=recipe,
            calibration=model.calibration,
            io=io,
            metadata={"labels": "cat,dog", "edgekit.precision": recipe.name},
            scratch=folder,
        )
        output = folder.with_suffix(".mlpackage")
        return output, CoreMLConverter().run(request, output, silent)

    return run


def outputs_of(path, rows):
    program = coreml_evaluator.load(path)
    results = [program.run({spec.name: array for spec, array in zip(program.inputs, row, strict=True)}) for row in rows]
    return [np.concatenate([item[spec.name] for item in results]) for spec in program.outputs]


def narrowed(rows):
    return [tuple(a.astype(np.int32) if a.dtype == np.int64 else a for a in row) for row in rows]


@pytest.mark.parametrize(
    ("name", "precision", "least_db"),
    [
        pytest.param("convolutions", "fp32", 100, id="cnn-fp32"),
        pytest.param("convolutions", "fp16", 50, id="cnn-fp16"),
        pytest.param("convolutions", "int8_static", 30, id="cnn-int8-static"),
        pytest.param("convolutions", "int8_weights", 35, id="cnn-int8-weights"),
        pytest.param("two_inputs", "int8_static", 30, id="two-inputs-int8-static"),
        pytest.param("token_ids", "int8_static", 28, id="ids-int8-static"),
        pytest.param("token_ids", "int8_dynamic", 35, id="ids-int8-dynamic"),
        pytest.param("token_ids", "int4_weights", 12, id="ids-int4"),
        pytest.param("two_outputs", "int8_static", 30, id="two-outputs-int8-static"),
        pytest.param("recurrent", "fp16", 50, id="lstm-fp16"),
        pytest.param("gated", "fp32", 100, id="gru-fp32"),
        pytest.param("gated", "int8_weights", 30, id="gru-int8-weights"),
        pytest.param("hybrid", "int8_hybrid", 25, id="hybrid-int8-hybrid"),
        pytest.param("skipped", "int8_static", 25, id="skipped-int8-static"),
        pytest.param("energies", "int8_static", 25, id="energies-int8-static"),
        pytest.param("long_recurrent", "int8_weights", 30, id="long-lstm-int8-weights"),
    ],
)
def test_the_package_computes_what_the_float_model_does(convert, tiny, sqnr, name, precision, least_db):
    model = tiny(name)
    path, _ = convert(name, Recipe(default=precision))
    found = outputs_of(path, narrowed(model.rows[:4]))
    assert len(found) == len(model.outputs)
    for reference, other in zip(model.outputs, found, strict=True):
        assert sqnr(reference[:4], other) > least_db


def test_every_convolution_reads_quantized_weights_and_activations(convert):
    _, made = convert("convolutions", Recipe(default="int8_static"))
    assert made.operators["constexpr_affine_dequantize"] == 4
    assert made.operators["conv"] == 3
    assert made.operators["quantize"] > 5
    assert made.float_fallbacks == ()


def test_no_grid_lies_between_a_convolution_and_its_clamp(convert):
    path, _ = convert("convolutions", Recipe(default="int8_static"))
    spec = _program(path)
    made_by = {output.name: item for item in spec for output in item.outputs}
    clips = [item for item in spec if item.type == "clip"]
    assert len(clips) == 2
    assert {made_by[item.inputs["x"].arguments[0].name].type for item in clips} == {"conv"}


def _program(path):
    import coremltools

    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    (block,) = model.get_spec().mlProgram.functions["main"].block_specializations.values()
    return list(block.operations)


def test_inputs_and_outputs_keep_their_names_and_token_ids_become_32_bit(convert):
    path, made = convert("token_ids", Recipe(default="int8_dynamic"))
    program = coreml_evaluator.load(path)
    assert [(item.name, item.dtype) for item in program.inputs] == [("ids", "int32")]
    assert [item.name for item in program.outputs] == ["result_0"]
    assert (made.inputs[0].dtype, made.outputs[0].dtype) == ("int32", "float32")


def test_dynamic_activations_are_said_to_become_weights_only(convert):
    _, made = convert("two_outputs", Recipe(default="int8_dynamic"))
    (note,) = made.notes
    assert note == (
        "Core ML chooses no activation grids at run time: int8-dynamic stores integer weights, a scale for each output "
        "channel, and computes in 16-bit float."
    )
    assert made.operators["constexpr_affine_dequantize"] == 3


def test_an_override_by_module_name_keeps_that_module_float(convert):
    _, made = convert("two_outputs", Recipe(default="int8_weights", overrides=(("trunk", "fp32"),)))
    assert made.operators["constexpr_affine_dequantize"] == 2


def test_recurrent_weights_are_stored_in_bytes(convert):
    _, made = convert("long_recurrent", Recipe(default="int8_weights"))
    assert made.operators["lstm"] == 2
    assert made.operators["constexpr_affine_dequantize"] >= 2 * 2 + 1  # two matrices a layer, one of the linear layer
    assert made.float_fallbacks == ()


def test_integer_inputs_and_outputs_come_with_scale_and_zero_point(convert, tiny, sqnr):
    model = tiny("two_inputs")
    path, made = convert("two_inputs", Recipe(default="int8_static"), io="int8")
    rows = [
        [
            np.clip(np.round(a / s.scale) + s.zero_point, -128, 127).astype(np.int8)
            for a, s in zip(row, made.inputs, strict=True)
        ]
        for row in model.rows
    ]
    (stored,) = outputs_of(path, rows)
    assert stored.dtype == np.int8
    spec = made.outputs[0]
    assert sqnr(model.outputs[0], (stored.astype(np.float64) - spec.zero_point) * spec.scale) > 28
    assert made.notes == ("Integer inputs and outputs need iOS 26, macOS 26 or watchOS 26.",)


def test_metadata_and_the_description_of_tensors_are_read_back_from_the_package(convert):
    path, made = convert("two_inputs", Recipe(default="fp16"))
    found = coreml_evaluator.load(path).metadata.user_defined
    assert found["labels"] == "cat,dog"
    described = json.loads(found["edgekit.io"])
    assert [item["name"] for item in described["inputs"]] == ["left", "right"]
    assert described["outputs"] == [spec.to_json() for spec in made.outputs]


def test_the_same_request_gives_the_same_bytes_and_no_file_beyond_the_three_of_a_package(convert):
    path, _ = convert("two_inputs", Recipe(default="int8_static"))
    other, _ = convert("two_inputs", Recipe(default="int8_static"), again=True)
    assert measure_files(path) == measure_files(other)
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    folder = "Data/com.apple.CoreML"
    assert files == [f"{folder}/model.mlmodel", f"{folder}/weights/weight.bin", "Manifest.json"]


def test_coremltools_is_imported_without_tensorflow():
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from edgekit.converters.to_coreml_program import import_coremltools\n"
        "import_coremltools(); print('tensorflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("kind", "recipe", "reason"),
    [
        pytest.param(
            "onnx",
            Recipe(),
            "coremltools reads no ONNX, and this file was not imported into torch. "
            "Give the torch model (module:factory or a .pt2 file), or use --format onnx or tflite.",
            id="onnx",
        ),
        pytest.param(
            "tflite",
            Recipe(),
            "a .tflite file is an artifact already; it can be validated and gated, not converted.",
            id="tflite",
        ),
        pytest.param(
            "pt2",
            Recipe(default="w8a16"),
            "Core ML has no 16-bit integer activations. Use --precision int8 or fp16.",
            id="w8a16",
        ),
        pytest.param("pt2", Recipe(default="int8_static"), None, id="torch"),
        pytest.param("keras", Recipe(default="int8_static"), None, id="keras"),
        pytest.param("savedmodel", Recipe(default="int8_weights"), None, id="savedmodel"),
    ],
)
def test_what_cannot_be_converted_has_a_reason(kind, recipe, reason):
    assert CoreMLConverter().why_not(kind, recipe) == reason


def test_an_operator_that_coremltools_lacks_is_named(convert):
    with pytest.raises(
        ConversionError,
        match=r"^unknown_operator\.py:build cannot become coreml fp16: coremltools has no conversion for "
        r"linalg_eigvalsh( in the layer \w+)?( \(conftest\.py, line \d+\))?\. "
        r"Try another format, or change the named operator in the model\.$",
    ):
        convert("unknown_operator", Recipe(default="fp16"))


def test_the_weights_of_a_recurrent_layer_in_a_loop_are_stored_in_integers(convert):
    path, made = convert("gated", Recipe(default="int8_weights"))
    [loop] = [item for item in _program(path) if item.type == "while_loop"]
    kinds = [item.type for body in loop.blocks for item in body.operations]
    assert kinds.count("constexpr_affine_dequantize") == kinds.count("linear") == 6  # two matrices for each gate
    assert made.float_fallbacks == ()


def test_integer_inputs_and_outputs_without_a_grid_are_refused(convert):
    with pytest.raises(
        ConversionError,
        match=re.escape(
            "two_outputs.py:build cannot have int8 inputs and outputs with int8-weights: "
            '"x", "result_0", "result_1" have no calibrated grid. Use --io float, or --precision int8-static.'
        )
        + "$",
    ):
        convert("two_outputs", Recipe(default="int8_weights"), io="int8")


def test_a_dtype_that_core_ml_lacks_is_refused_by_name():
    with pytest.raises(
        ConversionError,
        match=re.escape(
            'Core ML has no complex64 inputs and outputs, and "mask" is one. '
            "Let the model take and return float32 or int32 there."
        )
        + "$",
    ):
        artifact_specs((TensorSpec(name="mask", shape=(1, 4), dtype="complex64"),))


def test_names_that_core_ml_does_not_take_are_spelled_with_underscores():
    specs = artifact_specs((TensorSpec(name="input.1", shape=(1,), dtype="float32"),))
    assert [item.name for item in specs] == ["input_1"]
