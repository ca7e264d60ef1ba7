"""What was trained with rounding is what an artifact computes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.converters.base import ConversionRequest, converter
from edgekit.errors import DataError, TechniqueError
from edgekit.formats.table import find_format
from edgekit.model import LearnedRange
from edgekit.profiles.profile import find_profile
from edgekit.quantization.ranges import choose_range
from edgekit.quantization.statistics import TensorStatistics
from edgekit.recipe import Recipe
from edgekit.sources.captured_file import open_captured
from edgekit.task.task import Task, Training
from edgekit.techniques.base import Context
from edgekit.techniques.qat import Qat
from edgekit.training.training_data import TrainingData
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports


def context(given, folder, **changes):
    import torch

    teacher = torch.export.load(given.model.path).module(check_guards=False)

    def batches(epoch):
        for _ in range(8):
            images = torch.randn(8, 3, 16, 16)
            yield (images,), torch.cat([teacher(image[None]) for image in images]).argmax(1)

    data = TrainingData(batches=batches, loss=torch.nn.functional.cross_entropy)
    known = {"samples": given.samples, "scratch": folder / "scratch", "progress": silent, "training": data}
    return Context(**{**known, **changes})


CASES = {"tflite": (8, "tflite"), "tflite, 4-bit weights": (4, "tflite"), "onnx": (8, "onnx")}


@pytest.fixture(scope="module", params=CASES)
def trained(request, tiny, tmp_path_factory):
    """Returns (tiny model, what QAT made of it, runtime, what the rounded graph computes on calibration samples)."""
    import torch

    from edgekit.techniques import rounded_training

    given, folder = tiny("convolutions"), tmp_path_factory.mktemp("trained")
    kept = []
    original = rounded_training.baked_weights

    def noting(model, rounded):
        kept.append(rounded.module)
        return original(model, rounded)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounded_training, "baked_weights", noting)
        bits, runtime = CASES[request.param]
        technique = Qat(weight_bits=bits, runtime=runtime, learning_rate=0.01)
        made = technique.run(given.model, context(given, folder), folder / "out")
    with torch.no_grad():
        rows = [kept[0](torch.from_numpy(row[0].copy())).numpy() for row in given.samples.rows()]
    return given, made, runtime, np.concatenate(rows)


def converted(given, made, runtime, folder):
    one = converter(runtime)
    request = ConversionRequest(
        model=made, recipe=Recipe(default="int8_static"), calibration=given.samples.folder, scratch=folder / "s"
    )
    request.scratch.mkdir()
    output = folder / f"model{find_format(runtime).suffix}"
    one.run(request, output, silent)
    return output


def test_ranges_and_weights_travel_with_the_model(trained):
    given, made, _, _ = trained
    assert len(made.learned_ranges) > 5
    assert made.digest != given.model.digest
    assert open_captured(made.path.parent) == made


def outputs_of(path, runtime, samples):
    if runtime == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        found = []
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        for (row,) in samples.rows():
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
            interpreter.invoke()
            found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
        return np.concatenate(found)
    import onnxruntime

    # On x86 without VNNI the fused kernels add two products in 16 bits, which these weights overflow.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row})[0] for (row,) in samples.rows()])


@pytest.mark.runtime
def test_an_artifact_computes_what_was_trained_to_within_an_output_step(trained, tmp_path):
    given, made, runtime, simulated = trained
    found = outputs_of(converted(given, made, runtime, tmp_path), runtime, given.samples)
    step = np.ptp(simulated) / 255  # of an output that is float
    if runtime == "tflite":
        steps = np.diff(np.unique(simulated))
        step = steps[steps > 1e-4 * np.abs(simulated).max()].min()
    off = np.abs(found - simulated) / step
    assert np.mean(off <= 1.01) >= 0.99


def test_a_learned_range_is_found_by_what_the_tensor_holds():
    statistics = TensorStatistics("x")
    statistics.update(np.linspace(-1, 3, 1001, dtype=np.float32))
    mine = LearnedRange(minimum=-1.0, maximum=3.0, mean=1.0, low=-0.5, high=2.0)
    other = replace(mine, mean=1.2, high=9.0)
    found = choose_range(statistics, "minmax", learned=(other, mine))
    assert (found.low, found.high) == (-0.5, 2.0)
    assert choose_range(statistics, "minmax", learned=(other,)).high == 3.0
    assert choose_range(statistics, "minmax", symmetric=True, learned=(mine,)).low == -2.0


def test_nothing_to_round_is_refused(tiny, tmp_path):
    given = tiny("clamped")
    message = "qat cannot be used on clamped.py:build: no layer of it has integer kernels with fixed ranges."
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        Qat().run(given.model, context(tiny("convolutions"), tmp_path, samples=given.samples), tmp_path / "out")


def test_calibration_samples_must_be_there(tiny, tmp_path):
    given = tiny("convolutions")
    message = (
        "qat starts from ranges on calibration data and the task names none. Give [data] calibration in edgekit.toml: "
        "a function, an .npz file or a folder of images."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Qat().run(given.model, context(given, tmp_path, samples=None), tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "family", "calibration", "reason"),
    [
        ({}, "rnn", "d.py:c", "a recurrent model's captured graph cannot be trained in batches"),
        (
            {},
            "cnn",
            None,
            "its ranges start from calibration data and the task has none; give [data] calibration",
        ),
        ({"teacher_share": 2}, "cnn", "d.py:c", "teacher_share=2; expected 0 to 1"),
    ],
    ids=["recurrent", "calibration", "share"],
)
def test_wrong_settings_are_refused_before_any_work(tiny, settings, family, calibration, reason):
    training = Training(batches="t.py:b", loss="t.py:l")
    task = Task(model="net.py:build", base=Path(), calibration=calibration, training=training)
    model = replace(tiny("convolutions").model, family=family)
    assert Qat(**settings).why_not_usable(model, task, find_profile("pi4", Path())) == reason


def test_a_device_that_wants_other_grids_refuses(tiny):
    task = Task(model="n", base=Path(), calibration="d.py:c", training=Training(batches="t.py:b", loss="t.py:l"))
    strict = replace(find_profile("pi4", Path()), options={"tflite": {"per_channel": False}})
    assert Qat().why_not_usable(tiny("convolutions").model, task, strict) == (
        "pi4 wants other grids than this trains with: a scale a channel, affine activations"
    )
