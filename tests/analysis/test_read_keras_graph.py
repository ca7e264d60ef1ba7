"""Costed graphs of Keras models. TensorFlow runs in a process of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from edgekit.analysis.analyze import ANALYZE, AnalysisRequest
from edgekit.errors import ModelError
from edgekit.workers.worker import JobOptions, run_job

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed"),
]

MAKE = """
import sys
import keras
model = keras.Sequential([
    keras.Input((16, 16, 3)),
    keras.layers.Conv2D(8, 3, strides=2, padding="same"),
    keras.layers.BatchNormalization(),
    keras.layers.ReLU(6.0),
    keras.layers.DepthwiseConv2D(3, padding="same"),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(5),
])
model.save(sys.argv[1])
model.export(sys.argv[2], verbose=False)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    paths = {"keras": folder / "net.keras", "savedmodel": folder / "saved"}
    subprocess.run([sys.executable, "-c", MAKE, *map(str, paths.values())], check=True, capture_output=True)
    return paths


def analysis_of(kind, path):
    options = JobOptions(title="analysis", timeout_s=300)
    return run_job(ANALYZE, AnalysisRequest(kind=kind, path=path), options).value


@pytest.mark.parametrize("kind", ["keras", "savedmodel"])
def test_batch_norms_are_folded_and_weights_are_constants(kind, files):
    found = analysis_of(kind, files[kind])
    costs = [(o.kernel, o.macs) for o in found.operators if o.macs]
    assert costs == [("dense_conv", 8 * 8 * 8 * 27), ("depthwise_conv", 8 * 8 * 8 * 9), ("linear", 40)]
    # TensorFlow's converter leaves out biases that are all zero, as a fresh model's are.
    assert found.parameters == 8 * 27 + 8 + 72 + 40
    assert found.tensors[found.inputs[0]].shape == (1, 16, 16, 3)
    assert found.family == "cnn"


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError) as caught:
        analysis_of("keras", path)
    pattern = (
        rf"{re.escape(str(path))}: TensorFlow [\d.]+ cannot turn it into a costed graph: .+ "
        r"Expected a \.keras or \.h5 model, or a SavedModel with one signature and fixed sizes\."
    )
    assert re.fullmatch(pattern, caught.value.message)
