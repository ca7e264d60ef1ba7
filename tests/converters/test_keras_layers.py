"""Layers of Keras whose operators a converter lacks reach every format, and compute what they did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # TensorFlow warns at each step


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GELU, whose erfc neither tf2onnx nor coremltools knows, and a normalization that its code only refers to."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    keras.utils.set_random_seed(0)
    given = keras.Input((6,), name="features")
    scaled = keras.layers.Normalization(mean=np.arange(6.0), variance=np.arange(1.0, 7.0))(given)
    hidden = keras.layers.Dense(8, activation="gelu")(scaled)
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    keras.Model(given, keras.layers.Dense(3, name="scores")(hidden)).save(path)
    return path


@pytest.fixture
def rows() -> Callable[[], list[Any]]:
    generator = np.random.default_rng(0)
    return lambda: [
        ({"features": generator.standard_normal((1, 6)).astype(np.float32)}, int(generator.integers(0, 3)))
        for _ in range(8)
    ]


def test_all_four_formats_are_made_and_near_the_float_model(
    model: Path, rows: Callable[[], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    made = edgekit.export(
        str(model), device="iphone15", formats="tflite,onnx,executorch,coreml", precision="fp32", evaluation=rows(),
        metric="top1", output=str(tmp_path / "out"), strict=False, max_drop="90 pp",
    )  # fmt: skip
    parities = {format_["runtime"]: parity_of(format_) for format_ in made.to_json()["formats"]}
    assert sorted(parities) == ["coreml", "executorch", "onnx", "tflite"]
    assert min(parities.values()) > 90


def parity_of(format_: dict[str, Any]) -> float:
    return next(check["value"] for check in format_["checks"] if check["name"] == "parity")
