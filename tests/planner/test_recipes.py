"""What `--precision` means for each family and runtime."""

from __future__ import annotations

import pytest

from edgekit.planner.recipes import default_presets, resolve_precision, steps_of
from edgekit.recipe import PRESETS

FAMILIES = ("cnn", "mlp", "transformer", "rnn", "mixed", "unknown")


@pytest.mark.parametrize(
    ("family", "runtime", "precision"),
    [
        ("cnn", "tflite", "int8_static"),
        ("cnn", "coreml", "int8_static"),
        ("mlp", "onnx", "int8_static"),
        ("transformer", "tflite", "int8_dynamic"),
        ("transformer", "coreml", "int8_weights"),
        ("rnn", "executorch", "int8_dynamic"),
        ("mixed", "onnx", "int8_hybrid"),
        ("mixed", "coreml", "int8_hybrid"),
        ("unknown", "onnx", "int8_weights"),
    ],
)
def test_int8_is_what_suits_the_family(family, runtime, precision):
    assert resolve_precision("int8", family, runtime).default == precision


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "int8"])
def test_other_presets_mean_the_same_everywhere(preset):
    recipes = {
        resolve_precision(preset, family, runtime).default for family in FAMILIES for runtime in ("tflite", "coreml")
    }
    assert len(recipes) == 1


def test_symmetric_activations_are_for_static_int8_only():
    options = {"symmetric_activations": True}
    assert resolve_precision("int8", "cnn", "onnx", options).symmetric_activations
    assert not resolve_precision("fp16", "cnn", "onnx", options).symmetric_activations


@pytest.mark.parametrize(
    ("preset", "dense", "ranges"),
    [
        ("int8", True, "percentile"),
        ("int8", False, "minmax"),
        ("int8-dynamic", True, "minmax"),
        ("fp16", True, "minmax"),
    ],
)
def test_outliers_do_not_widen_the_ranges_of_models_with_dense_outputs(preset, dense, ranges):
    assert resolve_precision(preset, "cnn", "tflite", dense_outputs=dense).ranges == ranges


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_presets_and_core_ml_no_32_bit_float(family):
    assert default_presets(family, "tflite")[0] == "fp32"
    assert "fp32" not in default_presets(family, "coreml")


@pytest.mark.parametrize(
    ("preset", "technique"),
    [
        ("fp16", "quantize_float16"),
        ("int8-static", "quantize_static"),
        ("int8-dynamic", "quantize_dynamic"),
        ("int8-hybrid", "quantize_hybrid"),
        ("int4", "quantize_weights"),
    ],
)
def test_a_recipe_is_the_last_step(preset, technique):
    (step,) = steps_of(resolve_precision(preset, "cnn", "tflite"))
    assert step.technique == technique


def test_float_is_no_step():
    assert steps_of(resolve_precision("fp32", "cnn", "tflite")) == ()
