"""One suite over all converters and recipes: what every converter promises, whatever its runtime."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.artifact import measure_files
from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import ConversionError, DataError
from edgekit.formats.table import find_format
from edgekit.recipe import Recipe
from edgekit.registry import FORMATS
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # frameworks warn while converting

FAST = ("onnx", "tflite")
CASES = [
    pytest.param(runtime, model, precision, id=f"{runtime}-{model}-{precision}")
    for runtime in FAST
    for model, precision in (
        ("convolutions", "fp32"),
        ("convolutions", "fp16"),
        ("convolutions", "int8_static"),
        ("two_inputs", "int8_static"),
        ("two_outputs", "int8_static"),
        ("token_ids", "int8_dynamic"),
        ("token_ids", "int8_weights"),
        ("token_ids", "int4_weights"),
        ("recurrent", "int8_dynamic"),
    )
] + [
    pytest.param(runtime, model, precision, id=f"{runtime}-{model}-{precision}")
    for runtime in FORMATS
    if runtime not in FAST
    for model, precision in (("convolutions", "int8_static"), ("token_ids", "int8_dynamic"))
]


@pytest.fixture(scope="module")
def converted(tiny, tmp_path_factory):
    """Returns a function that converts a tiny model through the contract, once for each request."""
    made = {}

    def run(runtime, model, precision):
        key = (runtime, model, precision)
        if key not in made:
            folder = tmp_path_factory.mktemp("artifact")
            made[key] = (*_convert(tiny(model), runtime, precision, folder), folder)
        return made[key]

    return run


def _convert(tiny_model, runtime, precision, folder, **changes):
    one = converter(runtime)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    request = ConversionRequest(
        model=tiny_model.captured,
        recipe=Recipe(default=precision),
        calibration=tiny_model.calibration,
        metadata={"labels": "cat,dog"},
        scratch=scratch,
    )
    output = folder / f"model{find_format(runtime).suffix}"
    return output, one.run(replace(request, **changes), output, silent)


@pytest.mark.parametrize(("runtime", "model", "precision"), CASES)
def test_inputs_and_outputs_keep_order_and_shape(converted, tiny, runtime, model, precision):
    _, conversion, _ = converted(runtime, model, precision)
    captured = tiny(model).captured
    assert [spec.shape for spec in conversion.inputs] == [spec.shape for spec in captured.inputs]
    assert [spec.shape for spec in conversion.outputs] == [spec.shape for spec in captured.outputs]
    assert all(spec.dtype in {"float32", "int32", "int64"} for spec in conversion.inputs)


@pytest.mark.parametrize(("runtime", "model", "precision"), CASES)
def test_the_description_counts_operators(converted, runtime, model, precision):
    _, conversion, _ = converted(runtime, model, precision)
    assert conversion.operators
    assert all(count > 0 for count in conversion.operators.values())


@pytest.mark.parametrize(("runtime", "model", "precision"), CASES)
def test_the_description_survives_json(converted, runtime, model, precision):
    _, conversion, _ = converted(runtime, model, precision)
    assert type(conversion).from_json(json.loads(json.dumps(conversion.to_json()))) == conversion


@pytest.mark.parametrize(("runtime", "model", "precision"), CASES)
def test_nothing_but_the_artifact_is_left_behind(converted, runtime, model, precision):
    output, _, folder = converted(runtime, model, precision)
    assert sorted(path.name for path in folder.iterdir()) == sorted([output.name, "scratch"])


@pytest.mark.parametrize("runtime", FAST)
def test_the_same_request_gives_the_same_bytes(converted, tiny, tmp_path, runtime):
    first, _, _ = converted(runtime, "token_ids", "int8_dynamic")
    second, _ = _convert(tiny("token_ids"), runtime, "int8_dynamic", tmp_path)
    assert measure_files(second) == measure_files(first)


@pytest.mark.parametrize("runtime", FORMATS)
def test_another_process_in_another_folder_writes_the_same_bytes(converted, tiny, tmp_path, runtime):
    """What `edgekit verify --rebuild` rests on."""
    first, _, _ = converted(runtime, "convolutions", "int8_static")
    model, second = tiny("convolutions"), tmp_path / first.name
    item = {
        "model": model.captured.to_json(),
        "model_folder": str(model.captured.path.parent),
        "recipe": Recipe(default="int8_static").to_json(),
        "calibration": str(model.calibration),
        "io": "float",
        "output": str(second),
    }
    results = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "convert_tiny.py")],
        input=json.dumps({"runtime": runtime, "items": [item], "results": str(results)}),
        # Another order of sets and dictionaries' hashes than here: it may not be seen in the bytes.
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [made.get("error") for made in json.loads(results.read_text())] == [None]
    assert measure_files(second) == measure_files(first)


@pytest.mark.parametrize("runtime", FORMATS)
def test_a_row_that_blocks_do_not_fill_gets_more_bits(converted, runtime):
    output, conversion, _ = converted(runtime, "bottleneck", "int4_weights")
    assert conversion.operators
    # Of 5,888 weights one half has 4 bits, the other 8 at most: float would be 23,552 bytes.
    assert measure_files(output)[0] < 20_000


@pytest.mark.parametrize("runtime", FAST)
def test_a_conversion_leaves_model_and_samples_alone(tiny, tmp_path, runtime):
    model = tiny("convolutions")
    files = [model.captured.path, *sorted(model.calibration.iterdir())]
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    _convert(model, runtime, "int8_static", tmp_path)
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == before
    assert sorted(model.calibration.iterdir()) == files[1:]


@pytest.mark.parametrize("runtime", FORMATS)
def test_a_finished_tflite_file_is_refused_with_the_reason(tiny, tmp_path, runtime):
    captured = replace(tiny("convolutions").captured, kind="tflite")
    with pytest.raises(ConversionError) as caught:
        _convert(tiny("convolutions"), runtime, "int8_static", tmp_path, model=captured)
    assert caught.value.message.startswith(f"convolutions.py:build cannot become {runtime} int8-static: ")
    assert not (tmp_path / "model").with_suffix(find_format(runtime).suffix).exists()


@pytest.mark.parametrize("runtime", FORMATS)
def test_static_ranges_need_calibration_data(tiny, tmp_path, runtime):
    with pytest.raises(DataError) as caught:
        _convert(tiny("convolutions"), runtime, "int8_static", tmp_path, calibration=None)
    assert caught.value.message == (
        f"{runtime} int8-static needs calibration data and the task names none. Give it as --calibration DATA or "
        "[data] calibration in edgekit.toml (a function, an .npz file or a folder of images), or take a precision that "
        "needs none: --precision int8-dynamic, int8-weights or fp16."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]


@pytest.mark.parametrize("runtime", FAST)
def test_an_operator_that_cannot_be_held_is_named_and_nothing_is_written(tiny, tmp_path, runtime):
    with pytest.raises(ConversionError, match="linalg_eigh") as caught:
        _convert(tiny("unknown_operator"), runtime, "fp32", tmp_path)
    assert caught.value.message.startswith(f"unknown_operator.py:build cannot become {runtime}: ")
    assert caught.value.message.endswith("Replace that part of the model, or choose another format.")
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
