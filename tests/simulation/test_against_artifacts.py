"""Simulated against real: the same recipe through the converter and the runtime, on the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.pipeline.convert import convert
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.simulation import jobs
from edgekit.validators.execution import collect_evidence
from edgekit.workers.cache import Cache

pytestmark = pytest.mark.runtime


def decibels(expected, found):
    noise = float(((expected - found.reshape(expected.shape)) ** 2).sum())
    return 10 * np.log10(float((expected**2).sum()) / noise)


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_simulated_int8_is_as_far_from_float_as_the_artifact(trained, data, journal, tmp_path, runtime):
    recipe = Recipe(default="int8_static")
    settings = Settings(cache=Cache(root=tmp_path / "cache"))
    made = convert(trained.captured, runtime, recipe, trained.samples, settings)
    evidence = collect_evidence(made.artifact, folder=tmp_path / "ran", evaluation=trained.samples, pieces=("outputs",))
    (outputs,) = evidence.outputs.arrays()
    trial = jobs.RecipeTrial(runtime=runtime, recipe=recipe, metric="agreement", metric_sha256=None)
    request = jobs.SimulationRequest(data=data, journal=journal, base=tmp_path, trials=(trial,))
    simulated = jobs.simulate(request, lambda *_: None).results[0].sqnr_db
    assert simulated == pytest.approx(decibels(trained.outputs, np.asarray(outputs)), abs=2.5)
