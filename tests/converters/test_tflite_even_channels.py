"""TFLite: channels around a hard swish before a depthwise convolution are evened out, where they are far apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.converters import to_tflite
from edgekit.converters.base import ConversionRequest
from edgekit.converters.tflite_file import operator_counts, read
from edgekit.recipe import Recipe
from edgekit.testing.tiny_models import TinyModel, TinyNetwork, capture_tiny
from edgekit.workers.worker import silent

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # LiteRT and torch warn at each conversion

CHANNELS = 8


def captured(wide: float, folder: Path) -> TinyModel:
    """Returns convolution, hard swish, depthwise convolution; one channel between them is `wide` times as large."""
    import torch
    from torch import nn

    def build() -> nn.Module:
        first, second = nn.Conv2d(3, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        with torch.no_grad():
            first.weight[2] *= wide
            second.weight[2] /= wide
        return nn.Sequential(first, nn.Hardswish(), second)

    folder.mkdir()
    return capture_tiny(
        "wide", TinyNetwork(build=build, example=lambda: (torch.randn(1, 3, 8, 8),), family="cnn"), folder
    )


def noise(model: TinyModel, output: Path) -> tuple[float, dict[str, int]]:
    """Converts the model and returns the share of noise in what the artifact gives, and its operators."""
    from ai_edge_litert.interpreter import Interpreter

    output.parent.mkdir(exist_ok=True)
    request = ConversionRequest(
        model=model.model,
        recipe=Recipe(default="int8_static"),
        calibration=model.samples.folder,
        io="float",
        metadata={},
        scratch=output.parent,
    )
    to_tflite.TFLiteConverter().run(request, output, silent)
    interpreter = Interpreter(str(output), num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for row in model.samples.rows():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[0])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    (expected,) = model.outputs()
    error = ((np.concatenate(found) - expected) ** 2).mean() / (expected**2).mean()
    return float(error), operator_counts(read(output.read_bytes()))


def test_the_integers_come_nearer_to_the_float_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = captured(100.0, tmp_path / "model")
    evened, operators = noise(model, tmp_path / "evened" / "net.tflite")
    assert operators["MUL"] == 2
    monkeypatch.setattr(to_tflite, "far_apart", lambda *_: ())
    plain, operators = noise(model, tmp_path / "plain" / "net.tflite")
    assert "MUL" not in operators
    assert evened < 0.2 * plain


def test_channels_that_are_alike_keep_their_integer_kernels(tmp_path: Path) -> None:
    _, operators = noise(captured(1.0, tmp_path / "model"), tmp_path / "made" / "net.tflite")
    assert "MUL" not in operators
