"""Values beyond 65504: each format in 16 bits says which operator makes them, or keeps it in 32 bits."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import ConversionError
from edgekit.formats.table import find_format
from edgekit.quantization.pt2e_graph import read_float_graph
from edgekit.quantization.pt2e_overflow import find_overflows
from edgekit.recipe import Recipe
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]


def convert(model, runtime, folder):
    one = converter(runtime)
    request = ConversionRequest(
        model=model.captured, recipe=Recipe(default="fp16"), calibration=model.calibration, scratch=folder / "scratch"
    )
    request.scratch.mkdir()
    output = folder / f"model{find_format(runtime).suffix}"
    return output, one.run(request, output, silent)


def test_the_operator_and_its_module_are_found(tiny):
    model = tiny("loud")
    found = find_overflows(read_float_graph(model.captured), model.calibration, silent)
    assert {module for module, _ in found.values()} == {"loud"}
    assert max(value for _, value in found.values()) > 65504


def test_a_model_of_ordinary_values_has_none(tiny):
    model = tiny("convolutions")
    assert find_overflows(read_float_graph(model.captured), model.calibration, silent) == {}


def test_executorch_refuses_and_names_the_operator(tiny, tmp_path):
    pattern = (
        r"^loud\.py:build cannot become executorch fp16: loud \(aten\.mul\.Tensor\) reaches \de\+06 on calibration "
        r"data, and float16 ends at 65504\. XNNPACK takes one float type for the whole program: use --precision fp32, "
        r"or --format onnx or coreml, which keep such operators in float32\.$"
    )
    with pytest.raises(ConversionError, match=pattern.replace(r"\de", r"[\d.]+e")):
        convert(tiny("loud"), "executorch", tmp_path)


def test_coreml_keeps_the_module_in_32_bits_and_says_so(tiny, tmp_path):
    from edgekit.validators import coreml_evaluator

    model = tiny("loud")
    output, conversion = convert(model, "coreml", tmp_path)
    assert len(conversion.notes) == 1
    assert conversion.notes[0].startswith("Kept in float32, as float16 ends at 65504: loud (aten.mul.Tensor) reaches ")
    program = coreml_evaluator.load(output)
    name = program.outputs[0].name
    got = np.concatenate([program.run({program.inputs[0].name: row[0]})[name] for row in model.rows])
    np.testing.assert_allclose(got, model.outputs[0], atol=2e-2)


def test_coreml_asks_for_a_module_where_there_is_none_to_name(tiny, tmp_path):
    pattern = (
        r"^loud_outside\.py:build cannot become coreml fp16: mul \(aten\.mul\.Tensor\) reaches [\d.]+e\+06 on "
        r"calibration data, and float16 ends at 65504\. Put the operator into a module of its own, which can then stay "
        r"float32, or use --precision fp32\.$"
    )
    with pytest.raises(ConversionError, match=pattern):
        convert(tiny("loud_outside"), "coreml", tmp_path)


def test_onnx_keeps_the_operators_in_32_bits_and_says_so(tiny, tmp_path):
    import onnxruntime

    model = tiny("loud")
    output, conversion = convert(model, "onnx", tmp_path)
    assert any(note.startswith("Kept in float32, as their values would leave float16: ") for note in conversion.notes)
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    got = np.concatenate([session.run(None, {name: row[0]})[0] for row in model.rows])
    np.testing.assert_allclose(got, model.outputs[0], atol=2e-2)
