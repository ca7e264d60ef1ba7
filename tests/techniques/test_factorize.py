from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from edgekit.analysis.analyze import analyze
from edgekit.errors import TechniqueError
from edgekit.techniques.base import Context
from edgekit.techniques.factorize import Factorize
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def factorized(tiny, tmp_path_factory):
    """Returns a function from settings to (the tiny model, what it became, squared error relative to the outputs)."""

    @cache
    def run(name="attention", keep=0.6, **settings):
        given, folder = tiny(name), tmp_path_factory.mktemp("factorized")
        context = Context(samples=given.samples, scratch=folder / "scratch", progress=silent)
        changed = Factorize(keep=keep, **settings).run(given.model, context, folder / "out")
        before, after = given.outputs(), given.outputs(changed)
        return given, changed, float(((before - after) ** 2).sum() / (before**2).sum())

    return run


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in load_program(model.path, "test").state_dict.items()}


def test_every_layer_becomes_two_of_the_rank_that_the_budget_allows(factorized):
    given, changed, _ = factorized(rank="budget")
    found = shapes(changed)
    assert found["query.reduction"] == (9, 32)
    assert found["query.weight"] == (32, 9)
    assert found["inner.reduction"] == (12, 32)
    assert found["inner.weight"] == (64, 12)
    assert changed.parameters == given.model.parameters - 4 * (1024 - 9 * 64) - 2 * (2048 - 12 * 96)
    assert changed.macs < given.model.macs


def test_convolutions_of_one_tap_are_factorized_and_others_left(factorized):
    _, changed, error = factorized("convolutions", rank="budget")
    found = shapes(changed)
    assert found["head.reduction"][1] == 16
    assert found["stem.weight"] == (8, 3, 3, 3)
    assert "depthwise.reduction" not in found
    assert error < 0.1


def test_what_the_layers_read_tells_better_ranks_than_the_weights_alone(factorized):
    aware, plain = (factorized(rank="budget", whitens=flag)[2] for flag in (True, False))
    assert aware < 0.5 * plain


def test_a_shared_budget_is_kept(factorized):
    given, changed, _ = factorized(rank="sensitivity", keep=0.7)
    linear = 4 * 1024 + 2 * 2048
    assert given.model.parameters - 0.31 * linear <= changed.parameters + linear * 0.02
    assert changed.parameters <= given.model.parameters - 0.3 * linear


def test_the_estimate_of_a_budget_is_near_what_comes_out(factorized):
    given, changed, _ = factorized(rank="budget")
    estimate = Factorize(rank="budget", keep=0.6).estimate(analyze("pt2", given.model.path))
    assert estimate.parameters == pytest.approx(changed.parameters, rel=0.05)
    assert estimate.macs == pytest.approx(changed.macs, rel=0.07)  # ranks are whole
    energy = Factorize(rank="energy").estimate(analyze("pt2", given.model.path))
    assert energy.macs == analyze("pt2", given.model.path).macs


def test_layers_that_would_grow_stay_and_all_of_them_are_an_error(tiny, tmp_path):
    given = tiny("attention")
    context = Context(samples=given.samples, scratch=tmp_path / "scratch", progress=silent)
    message = (
        "factorize changes nothing in attention.py:build: at energy=0.999999 every layer would grow. Ask for less, or "
        "leave it out."
    )
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        Factorize(rank="energy", energy=0.999999).run(given.model, context, tmp_path / "out")


def test_the_mean_of_the_outputs_stays(factorized):
    given, changed, _ = factorized("convolutions", rank="budget")
    before, after = given.outputs().mean(axis=0), given.outputs(changed).mean(axis=0)
    np.testing.assert_allclose(after, before, atol=0.05 * np.abs(before).max())
