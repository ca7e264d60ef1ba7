"""Predictions of a candidate are those of the model that its techniques have made."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.errors import TechniqueError
from edgekit.exporting import export
from edgekit.pipeline.technique_stage import Applied
from edgekit.planner.candidates import with_predictions, with_predictions_of_changed
from edgekit.profiles.profile import find_profile
from edgekit.recipe import Candidate, Recipe, Step

PRUNE = Step(technique="prune_channels", settings={"ratio": 0.5})


def network(channels):
    """One 1x1 convolution of 64 inputs."""
    values = np.random.default_rng(0).standard_normal((channels, 64, 1, 1)).astype("f4")
    builder = GraphBuilder()
    builder.store("w", values.shape, "float32", lambda: values)
    builder.tensor("x", (1, 64, 8, 8), "float32")
    builder.tensor("y", (1, channels, 8, 8), "float32")
    builder.add(
        name="c", type="conv2d", kernel="pointwise_conv", reads=["x", "w"], outputs=["y"],
        macs=64 * 64 * channels, roles={"w": ("kernel", channels)},
    )  # fmt: skip
    return builder.finish(["x"], ["y"])


def test_costs_are_those_of_the_changed_graph_and_accuracy_is_not_predicted(tmp_path):
    profile = find_profile("pi4", cwd=tmp_path)
    bare = Candidate(runtime="tflite", recipe=Recipe(default="fp32"), steps=(PRUNE,))
    before = with_predictions(bare, network(1024), profile)
    after = with_predictions_of_changed(before, network(256), profile)
    assert (after.runtime, after.recipe, after.steps) == (before.runtime, before.recipe, before.steps)
    for name in ("size", "download", "latency"):
        assert after.prediction(name).value < before.prediction(name).value / 2
    drop = after.prediction("accuracy_drop")
    assert (drop.value, drop.low, drop.high) == (None, None, None)
    assert drop.basis == "not predicted: techniques have changed the model, and the artifact is measured"


@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        pytest.param("made", "of the changed model", id="made"),
        pytest.param(TechniqueError("no"), "of the model before", id="failed"),
        pytest.param(None, "of the model before", id="no technique"),
    ],
)
def test_an_export_predicts_anew_where_techniques_have_made_a_model(applied, expected):
    steps = () if applied is None else (PRUNE,)
    candidate = Candidate(runtime="tflite", recipe=Recipe(default="fp32"), steps=steps)
    other = Candidate(runtime="onnx", recipe=Recipe(default="fp32"), steps=steps)
    made = (Applied(step=PRUNE, model="its model", seconds=1.0, cached=False),)  # type: ignore[arg-type]  # handed on
    changes = {} if applied is None else {str(PRUNE): made if applied == "made" else applied}
    found = export._predicted(candidate, changes, lambda _candidate, model: other if model == "its model" else None)
    assert found is (other if expected == "of the changed model" else candidate)
