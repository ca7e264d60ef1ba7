"""Simulation and sensitivity as worker processes run them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgekit.recipe import Recipe
from edgekit.simulation import jobs
from edgekit.simulation.sensitivity import LayerNoise
from edgekit.workers.journal_parts import read_part, write_part


def silent(phrase, share=None):
    pass


@pytest.fixture
def simulated(data, journal, tmp_path):
    """Returns a function from recipes to what simulating them gave."""

    def run(*recipes, runtime="tflite", metric="agreement"):
        trials = tuple(
            jobs.RecipeTrial(runtime=runtime, recipe=recipe, metric=metric, metric_sha256=None) for recipe in recipes
        )
        request = jobs.SimulationRequest(data=data, journal=journal, base=tmp_path, trials=trials)
        return jobs.simulate(request, silent).results

    return run


@pytest.fixture
def sensitivity(data, journal):
    return jobs.SensitivityRequest(
        data=data, runtime="onnx", recipe=Recipe(), precisions=("int8_static",), metric="agreement",
        metric_sha256=None, base=journal, journal=journal,
    )  # fmt: skip


def test_the_float_recipe_changes_nothing(simulated):
    (found,) = simulated(Recipe())
    assert found.sqnr_db == jobs.LARGEST_DB
    assert found.drop.value == 0


def test_fewer_bits_lose_more(simulated):
    found = simulated(
        Recipe(default="fp16"), Recipe(default="int8_weights"), Recipe(default="int8_static"), runtime="onnx"
    )
    ratios = [item.sqnr_db for item in found]
    assert ratios == sorted(ratios, reverse=True)
    assert 25 < ratios[2] < 60


def test_a_layer_that_stays_float_makes_the_outputs_better(simulated):
    plain, mixed = simulated(
        Recipe(default="int8_static"), Recipe(default="int8_static", overrides=(("head", "fp32"),))
    )
    assert mixed.sqnr_db > plain.sqnr_db


def test_the_score_is_paired_with_the_float_model(simulated):
    (found,) = simulated(Recipe(default="int8_static"))
    assert found.drop.metric == "agreement"
    assert found.drop.count == 48
    assert found.drop.low <= found.drop.value <= found.drop.high


def test_without_targets_top1_is_replaced_by_agreement(simulated):
    (found,) = simulated(Recipe(default="fp16"), metric="top1")
    assert (found.drop.metric, found.reason) == ("agreement", "")


def test_a_recipe_that_was_simulated_is_not_simulated_again(simulated, monkeypatch):
    first = simulated(Recipe(default="fp16"))
    monkeypatch.setattr(jobs, "FloatModel", None)
    assert simulated(Recipe(default="fp16")) == first


def test_each_layer_is_measured_and_the_sum_is_near_the_whole(simulated, sensitivity):
    found = jobs.measure(sensitivity, silent)
    assert [item.module for item in found.layers] == ["stem", "depthwise", "project", "head"]
    assert len(found.margins) == 48
    whole = simulated(Recipe(default="int8_static"), runtime="onnx")[0].sqnr_db
    summed = -10 * math.log10(sum(item.noise for item in found.layers))
    assert summed == pytest.approx(whole, abs=3)


def test_a_run_that_was_killed_goes_on_where_it_stopped(sensitivity, journal):
    seen = []

    def stop_at_the_third(phrase, share=None):
        if phrase.startswith("measuring"):
            seen.append(phrase)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.measure(sensitivity, stop_at_the_third)
    assert len(list(journal.glob("layer-*.json"))) == 2
    # What was saved is taken as it is and not measured again.
    saved = {path.stem: read_part(journal, path.stem, LayerNoise, silent) for path in journal.glob("layer-*.json")}
    name = next(name for name, item in saved.items() if item.module == "stem")
    write_part(journal, name, replace(saved[name], noise=0.125))
    found = jobs.measure(sensitivity, silent)
    assert found.layers[0].noise == 0.125
    assert len(found.layers) == 4
    # A figure that somebody has changed since is not taken, and what was measured instead is said.
    damaged = journal / f"{name}.json"
    damaged.write_text(damaged.read_text().replace("0.125", "0.5"))
    reported = []
    again = jobs.measure(sensitivity, lambda phrase, share=None: reported.append(phrase))
    assert 0 < again.layers[0].noise < 0.1
    assert f"{name}.json of an earlier run is damaged: it is made anew" in reported
    assert not list(journal.glob(".partial-*"))


def test_formats_that_round_a_model_alike_share_a_run(data, journal, tmp_path, monkeypatch):
    runs = []
    whole = jobs.FloatModel.run

    def run(self, *args, **kwargs):
        runs.append(self)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(jobs.FloatModel, "run", run)
    trials = tuple(
        jobs.RecipeTrial(runtime=runtime, recipe=Recipe(default="int8_static"), metric="agreement", metric_sha256=None)
        for runtime in ("tflite", "executorch", "onnx")
    )
    request = jobs.SimulationRequest(data=data, journal=journal, base=tmp_path, trials=trials)
    first, second, third = jobs.simulate(request, silent).results
    assert first == second
    assert third != first  # it writes its last layer in float
    assert len(runs) == 4  # the float model, its calibration, and two ways to round
