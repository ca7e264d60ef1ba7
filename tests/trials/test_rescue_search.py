"""The search for what brings integers nearer to the float model, with fakes in the place of workers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.errors import TechniqueError
from edgekit.model import CapturedModel
from edgekit.pipeline.samples import hold_out
from edgekit.pipeline.settings import Settings
from edgekit.planner.recipes import steps_of
from edgekit.profiles.profile import DeviceProfile, Hardware
from edgekit.recipe import Candidate, Prediction, Recipe
from edgekit.samples import write_samples
from edgekit.simulation.jobs import SimulatedDrop, SimulatedRecipe
from edgekit.task.task import Task
from edgekit.trials import rescue_search
from edgekit.trials.rescue_search import RescueSearch, gain_of, open_rescue_search
from edgekit.workers.cache import Cache

BASE_DB = 20.0


def settings(tmp_path: Path) -> Settings:
    return Settings(cache=Cache(root=tmp_path / "cache"))


def samples(tmp_path: Path, count: int = 20):
    rows = ((np.full((1, 3), index, "f4"),) for index in range(count))
    return write_samples(tmp_path / "samples", ["x"], rows)


@pytest.fixture
def search(tmp_path, monkeypatch) -> RescueSearch:
    builder = GraphBuilder()
    builder.tensor("x", (1, 3), "float32")
    builder.tensor("y", (1, 3), "float32")
    builder.add(name="y", type="relu", kernel="elementwise", module="y", reads=["x"], outputs=["y"])
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2", inputs=(),
        outputs=(), digest="", parameters=1, macs=1, family="cnn",
    )  # fmt: skip
    profile = DeviceProfile(
        name="board", title="Board", kind="phone", runtimes=("tflite",), hardware=Hardware(cpu=(), features=()),
        path=Path("board.toml"),
    )  # fmt: skip
    found = open_rescue_search(
        Task(base=tmp_path, model="net.py:build", calibration="data.py:f", metric="agreement"),
        model,
        builder.finish(["x"], ["y"]),
        profile,
        samples(tmp_path),
        settings(tmp_path),
    )
    assert isinstance(found, RescueSearch)
    return found


@pytest.fixture
def world(monkeypatch):
    """What each change gains; a technique leaves its name in the model's digest."""
    gains = {"equalize": 0.0, "gptq": 0.0, "blocks": 0.0, "mse": 0.0, "percentile": 0.0, "minmax": 0.0}
    seen: list[str] = []

    def apply(model, steps, _samples, _settings, _task):
        names = [str(step.settings.get("method", step.technique)) for step in steps]
        if "fails" in gains and gains["fails"] in names:
            raise TechniqueError("it has no layer.\nmore")
        return [type("Applied", (), {"model": replace(model, digest=" ".join(names))})]

    def simulate(candidates, _task, data, _settings, _siblings):
        names = [*data.model.digest.split(), candidates[0].recipe.ranges]
        seen.append(" ".join(names))
        assert (data.reference is None) == (not data.model.digest)
        value = BASE_DB + sum(float(gains[name]) for name in names)
        return (SimulatedRecipe(sqnr_db=value, drop=None, reason="no scores"),)

    monkeypatch.setattr(rescue_search, "apply_techniques", apply)
    monkeypatch.setattr(rescue_search, "simulate_candidates", simulate)
    return gains, seen


def static() -> Candidate:
    recipe = Recipe(default="int8_static")
    parity = Prediction(name="parity", value=None, low=None, high=None, unit="dB", basis="")
    return Candidate(runtime="tflite", recipe=recipe, steps=steps_of(recipe), predictions=(parity,))


def test_what_helps_alone_is_joined_where_it_helps_again(search, world):
    gains, seen = world
    gains |= {"gptq": 2.0, "equalize": 1.0, "mse": 0.1}
    found = search.rescue(static())
    assert found.candidate.title == "equalize + round_weights + tflite int8-static"
    assert found.candidate.recipe.ranges == "minmax"
    assert "equalize gptq minmax" in seen
    parity = found.candidate.prediction("parity")
    assert parity is not None
    assert parity.value == pytest.approx(23.0)
    assert parity.basis == "simulated on 5 held-out calibration samples"
    assert found.note.startswith(
        "tflite int8-static: equalize + round_weights:method=gptq brings parity from 20.0 dB to 23.0 dB on 5 held-out "
        "calibration samples (tried alone: equalize +1.0 dB, ranges=mse +0.1 dB, "
    )


def test_of_two_ways_to_round_the_better_is_taken(search, world):
    world[0].update({"gptq": 2.0, "blocks": 2.5})
    recipe = Recipe(default="int4_weights")
    found = search.rescue(replace(static(), recipe=recipe, steps=steps_of(recipe))).candidate
    assert found.steps[0].settings == {"method": "blocks", "bits": 4, "group_size": 32}


def test_what_does_not_help_leaves_the_candidate_as_it_is(search, world):
    found = search.rescue(static())
    assert found.candidate.steps == static().steps
    assert found.candidate.recipe == static().recipe
    assert "no change brought it nearer to the float model than 20.0 dB" in found.note


def test_what_cannot_be_used_is_said_and_left_out(search, world):
    world[0].update({"fails": "equalize", "gptq": 1.0})
    found = search.rescue(static())
    assert found.candidate.title == "round_weights + tflite int8-static"
    assert "; equalize: it has no layer." in found.note
    assert "; smooth_activations: it smooths what linear layers read, and this model is convolutional" in found.note


def test_a_technique_that_would_take_too_long_is_left_out(search, world, monkeypatch):
    monkeypatch.setattr(rescue_search, "LONGEST_S", -1.0)
    world[0].update({"gptq": 5.0, "mse": 1.0})
    found = search.rescue(static())
    assert found.candidate.steps[0].technique == "quantize_static"
    assert found.candidate.recipe.ranges == "mse"
    words = "round_weights:method=gptq: it would take about 0 minutes; --technique round_weights:method=gptq does it"
    assert words in found.note


def test_every_fourth_sample_is_held_out(tmp_path):
    tuning, held_out = hold_out(samples(tmp_path), 4, settings(tmp_path))
    assert held_out.arrays()[0][:, 0].tolist() == [3, 7, 11, 15, 19]
    assert sorted([*tuning.arrays()[0][:, 0], *held_out.arrays()[0][:, 0]]) == list(range(20))


def test_too_few_samples_are_said(tmp_path, search):
    found = open_rescue_search(
        search.task, search.model, search.analysis, search.profile, samples(tmp_path, 15), search.settings
    )
    assert found == "15 calibration samples are too few to hold some out; 16 are enough"


def simulated(sqnr_db: float, points: float | None, band: float = 2.0) -> SimulatedRecipe:
    drop = None
    if points is not None:
        drop = SimulatedDrop(metric="map", value=points, low=points - band, high=points + band, count=20)
    return SimulatedRecipe(sqnr_db=sqnr_db, drop=drop)


@pytest.mark.parametrize(
    ("before", "after", "gain"),
    [
        pytest.param((20.0, 9.0), (18.0, 4.0), 5.0, id="the metric gains although parity loses"),
        pytest.param((20.0, 4.0), (28.0, 9.0), -5.0, id="the metric loses although parity gains"),
        pytest.param((20.0, 4.0), (22.0, 3.5), 2.0, id="the metric sees too little"),
        pytest.param((20.0, 8.0, 4.0), (22.0, 1.0, 4.0), 2.0, id="the bands of few samples overlap"),
        pytest.param((20.0, None), (22.0, 3.5), 2.0, id="the metric was not taken"),
        pytest.param((20.0, math.nan), (22.0, 3.5), 2.0, id="outputs that are not finite"),
    ],
)
def test_a_change_gains_what_the_metric_says_where_it_says_something(before, after, gain):
    assert gain_of(simulated(*before), simulated(*after)) == gain
