"""Baked rounding survives every format: the integers in each artifact are the learned ones, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest, converter
from edgekit.formats.table import find_format
from edgekit.recipe import Recipe
from edgekit.techniques.base import Context
from edgekit.techniques.round_weights import RoundWeights
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

LAYOUTS = ((0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0))
"""(outputs, inputs, height, width), and what TFLite makes of it: for convolutions and for depthwise ones."""


@pytest.fixture(scope="module", params=["gptq", "adaround", "blocks"])
def rounded(request, tiny, tmp_path_factory):
    """Returns (tiny model, rounded model, learned integers by name)."""
    given, folder = tiny("convolutions"), tmp_path_factory.mktemp("rounded")
    context = Context(samples=given.samples, scratch=folder / "scratch", progress=silent)
    changed = RoundWeights(method=request.param, iterations=60).run(given.model, context, folder / "out")
    integers = {}
    for name, tensor in load_program(changed.path, "test").state_dict.items():
        if tensor.ndim > 1:
            values = tensor.detach().numpy()
            scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(127)
            integers[name] = np.round(values / scale).astype(np.int8)
            np.testing.assert_allclose(values, integers[name] * scale, rtol=2e-7)
    return given, changed, integers


@pytest.mark.parametrize("runtime", ["onnx", "tflite", "executorch", "coreml"])
def test_a_formats_quantizer_finds_the_learned_integers(rounded, tmp_path, runtime):
    given, changed, integers = rounded
    one = converter(runtime)
    request = ConversionRequest(
        model=changed, recipe=Recipe(default="int8_static"), calibration=given.samples.folder, scratch=tmp_path / "s"
    )
    request.scratch.mkdir()
    output = tmp_path / f"model{find_format(runtime).suffix}"
    one.run(request, output, silent)
    stored = _bytes(output)
    missing = [name for name, array in integers.items() if not any(form in stored for form in _forms(array))]
    assert missing == []


def test_rounding_to_nearest_would_store_other_integers(rounded):
    given, _, integers = rounded
    changed = 0
    for name, tensor in load_program(given.model.path, "test").state_dict.items():
        if name in integers:
            values = tensor.detach().numpy()
            scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(127)
            changed += int((np.round(values / scale) != integers[name]).sum())
    assert changed > 50


def _forms(array: np.ndarray) -> list[bytes]:
    """Returns the layouts in which a format may store a weight: (outputs, inputs, ...) and TFLite's."""
    if array.ndim == 2:
        return [array.tobytes(), np.ascontiguousarray(array.T).tobytes()]
    return [np.ascontiguousarray(array.transpose(order)).tobytes() for order in LAYOUTS]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b"".join(p.read_bytes() for p in path.rglob("*") if p.is_file())
