"""The contract of a format over edgekit's own, and what these promise beyond it."""

from __future__ import annotations

import pytest

from edgekit.artifact import measure_files
from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import ConversionError
from edgekit.formats.table import find_format
from edgekit.recipe import Recipe
from edgekit.registry import FORMATS
from edgekit.testing.format_contract import FormatContract
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # frameworks warn while converting

MANY = (
    ("convolutions", "fp32"),
    ("convolutions", "fp16"),
    ("two_inputs", "int8_static"),
    ("two_outputs", "int8_static"),
    ("attention", "int8_dynamic"),
    ("attention", "int8_weights"),
    ("attention", "int4_weights"),
    ("recurrent", "int8_dynamic"),
    ("convolutions", "int8_static"),
)
FEW = (("two_inputs", "fp32"), ("attention", "int8_dynamic"), ("convolutions", "int8_static"))


class TestTFLite(FormatContract):
    name = "tflite"
    cases = MANY


class TestONNX(FormatContract):
    name = "onnx"
    cases = MANY


class TestExecuTorch(FormatContract):
    name = "executorch"
    cases = FEW


class TestCoreML(FormatContract):
    name = "coreml"
    cases = FEW


def test_every_format_of_the_table_is_held_to_the_contract():
    assert {cls.name for cls in FormatContract.__subclasses__()} >= set(FORMATS)


def _convert(tiny_model, runtime, precision, folder):
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    request = ConversionRequest(
        model=tiny_model.captured,
        recipe=Recipe(default=precision),
        calibration=tiny_model.calibration,
        scratch=scratch,
    )
    output = folder / f"model{find_format(runtime).suffix}"
    return output, converter(runtime).run(request, output, silent)


@pytest.mark.parametrize("runtime", FORMATS)
def test_a_row_that_blocks_do_not_fill_gets_more_bits(tiny, tmp_path, runtime):
    output, conversion = _convert(tiny("bottleneck"), runtime, "int4_weights", tmp_path)
    assert conversion.operators
    # Of 5,888 weights one half has 4 bits, the other 8 at most: float would be 23,552 bytes.
    assert measure_files(output)[0] < 20_000


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_an_operator_that_cannot_be_held_is_named_and_nothing_is_written(tiny, tmp_path, runtime):
    with pytest.raises(ConversionError, match="linalg_eigh") as caught:
        _convert(tiny("unknown_operator"), runtime, "fp32", tmp_path)
    assert caught.value.message.startswith(f"unknown_operator.py:build cannot become {runtime}: ")
    assert caught.value.message.endswith("Replace that part of the model, or choose another format.")
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
