"""The runner of float graphs: batches, forks, and what is rounded for whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekit.errors import DataError
from edgekit.quantization.ranges import Range
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.simulation.float_model import FloatModel
from edgekit.simulation.graph_run import FLOAT
from edgekit.simulation.placement import EVERYTHING_ELSE, place
from edgekit.simulation.realisation import realisation_of, why_not_simulated


@pytest.fixture
def model(trained):
    return FloatModel(trained.captured, trained.samples)


def placed(model, runtime="tflite", **recipe):
    calibrated = model.calibrate("minmax", lambda _share: None)
    made = Recipe(**recipe)
    ranges = calibrated.ranges if made.needs_calibration else {}
    return place(model.runner.module, made, realisation_of(runtime), ranges), calibrated


def test_batches_compute_what_the_model_does(model, trained):
    assert model.batch > 1
    (found,) = model.run()
    np.testing.assert_allclose(found, trained.outputs, atol=1e-4)


def test_a_fork_does_not_touch_the_run_that_it_came_from(model):
    (rows,) = next(model.batches(4))
    run = model.runner.advance(model.runner.start((rows,)), FLOAT, until=len(model.runner.nodes) // 2)
    placement, calibrated = placed(model, default="int8_static")
    rounded = model.runner.prepare(placement, calibrated.input_means)
    changed = model.runner.results(model.runner.advance(run.fork(), rounded))[0]
    plain = model.runner.results(model.runner.advance(run, FLOAT))[0]
    assert not torch.equal(changed, plain)
    assert torch.equal(plain, model.runner.results(model.runner.advance(model.runner.start((rows,)), FLOAT))[0])


def test_each_kernel_s_grid_belongs_to_its_module_and_lies_after_the_activation(model):
    placement, _ = placed(model, default="int8_static")
    assert placement.modules == ("stem", "depthwise", "project", "head")
    nodes = {node.name: str(node.target) for node in model.runner.nodes}
    owned = {placement.owner[name]: nodes[name] for name in placement.tensors}
    assert owned["stem"] == owned["depthwise"] == "aten.hardtanh.default"
    assert owned["head"] == "aten.linear.default"
    assert EVERYTHING_ELSE in owned


def test_the_parts_of_all_modules_are_the_whole_but_for_what_belongs_to_none(model):
    placement, _ = placed(model, default="int8_static")
    parts = [placement.of_module(name) for name in placement.modules]
    assert {name for part in parts for name in part.kernels} == set(placement.kernels)
    own = {name for name in placement.tensors if placement.owner[name] != EVERYTHING_ELSE}
    assert {name for part in parts for name in part.tensors} == own


def test_onnx_writes_a_last_linear_layer_in_float(model):
    last = {name for name, owner in placed(model, default="int8_static")[0].owner.items() if owner == "head"}
    assert last
    assert not last & set(placed(model, "onnx", default="int8_static")[0].tensors)


def test_a_layer_with_an_override_is_left_alone(model):
    placement, _ = placed(model, default="int8_static", overrides=(("stem", "fp32"),))
    assert "stem" not in placement.modules
    assert "stem" not in placement.owner.values()


def test_bias_correction_takes_the_mean_shift_back(model):
    placement, calibrated = placed(model, default="int8_static", per_channel=False)
    weights_only = replace(placement.of_module("head"), tensors={})
    (exact,) = model.run()

    def mean_shift(means):
        (found,) = model.run(model.runner.prepare(weights_only, means))
        return float(np.abs((found - exact).mean(axis=0)).max())

    assert mean_shift({}) > 1e-3
    assert mean_shift(calibrated.input_means) < 1e-5


def test_samples_that_do_not_fit_are_refused(trained, tmp_path):
    wrong = write_samples(tmp_path / "wrong", ["image"], [(np.zeros((1, 3, 8, 8), np.float32),)])
    with pytest.raises(DataError) as caught:
        FloatModel(trained.captured, wrong)
    assert caught.value.message == (
        'Calibration data for the input "image" has rows of shape (1, 3, 8, 8); the model expects (1, 3, 16, 16). '
        "Preprocess calibration data as the model's inputs."
    )


def test_ranges_hold_every_value(model):
    ranges = model.calibrate("minmax", lambda _share: None).ranges
    image = ranges[model.runner.nodes[[n.op for n in model.runner.nodes].index("placeholder")].name]
    whole = np.concatenate([batch[0].numpy() for batch in model.batches()])
    assert image.low <= whole.min() + 1e-6
    assert image.high >= whole.max() - 1e-6
    wanted = Range(low=float(whole.min()), high=float(whole.max())).on_whole_steps()
    assert image == Range(low=pytest.approx(wanted.low), high=pytest.approx(wanted.high))


@pytest.mark.parametrize(
    ("runtime", "kind", "reason"),
    [
        ("tflite", "pt2", None),
        ("coreml", "onnx", None),
        (
            "tflite",
            "keras",
            "a keras file cannot be run layer by layer here; give the torch or ONNX model that it was made from",
        ),
        ("other", "pt2", "edgekit does not know how other rounds, so it cannot be simulated"),
    ],
)
def test_what_cannot_be_simulated_says_why(runtime, kind, reason):
    assert why_not_simulated(runtime, kind) == reason
