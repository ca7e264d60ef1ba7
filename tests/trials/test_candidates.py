"""Trials of candidates, with a fake in the place of the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.model import CapturedModel
from edgekit.planner.recipes import steps_of
from edgekit.recipe import Candidate, Recipe
from edgekit.samples import write_samples
from edgekit.simulation.jobs import SimulatedRecipe, SimulationData
from edgekit.task.task import Task
from edgekit.trials.candidates import simulate_candidates
from edgekit.workers.cache import Cache
from edgekit.workers.journal_parts import write_part
from edgekit.workers.worker import silent


@dataclass
class FakeSettings:
    """Simulates in this process and notes what was requested."""

    cache: Cache
    requested: list[list[str]]

    def stage(self, _name):
        return silent

    def run(self, _title, _job, request, _progress):
        self.requested.append([trial.runtime for trial in request.trials])
        results = tuple(SimulatedRecipe(sqnr_db=20.0 + i, drop=None) for i in range(len(request.trials)))
        for trial, result in zip(request.trials, results, strict=True):
            write_part(request.journal, trial.name, result)
        return SimpleNamespace(value=SimpleNamespace(results=results))


@pytest.fixture
def data(tmp_path):
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("float.pt2"), inputs=(),
        outputs=(), digest="d", parameters=1, macs=1, family="cnn",
    )  # fmt: skip
    return SimulationData(model=model, samples=write_samples(tmp_path / "samples", ["x"], [(np.zeros((1, 3), "f4"),)]))


def test_what_is_simulated_for_one_format_is_simulated_for_those_planned_afterwards(tmp_path, data):
    settings = FakeSettings(Cache(root=tmp_path / "cache"), [])
    task = Task(base=tmp_path, model="net.py:build", metric="agreement")
    recipe = Recipe(default="int8_static")
    first, second = (Candidate(runtime=name, recipe=recipe, steps=steps_of(recipe)) for name in ("tflite", "onnx"))
    (found,) = simulate_candidates([first], task, data, settings, ("onnx", "unknown"))
    assert found.sqnr_db == 20.0
    assert settings.requested == [["tflite", "onnx"]]
    (found,) = simulate_candidates([second], task, data, settings)
    assert found.sqnr_db == 21.0
    assert len(settings.requested) == 1
