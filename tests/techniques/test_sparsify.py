from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import TechniqueError
from edgekit.profiles.profile import find_profile
from edgekit.task.task import Task
from edgekit.techniques.base import Context
from edgekit.techniques.sparsify import Sparsify
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def sparsified(tiny, tmp_path_factory):
    """Returns a function from settings to (weights by name, relative squared error of the outputs)."""

    @cache
    def run(name="convolutions", **settings):
        given, folder = tiny(name), tmp_path_factory.mktemp("sparsified")
        context = Context(samples=given.samples, scratch=folder / "scratch", progress=silent)
        changed = Sparsify(**settings).run(given.model, context, folder / "out")
        weights = {n: t.detach().numpy() for n, t in load_program(changed.path, "test").state_dict.items()}
        before, after = given.outputs(), given.outputs(changed)
        return weights, float(((before - after) ** 2).sum() / (before**2).sum())

    return run


@pytest.mark.parametrize("method", ["layer", "activations", "random"])
def test_every_layer_gets_the_share_of_zeros_and_depthwise_and_first_layers_none(sparsified, method):
    weights, _ = sparsified(method=method)
    zeros = {name: (array == 0).mean() for name, array in weights.items() if array.ndim > 1}
    assert {name for name, share in zeros.items() if share == 0} == {"stem.weight", "depthwise.weight"}
    assert all(share == 0.5 for name, share in zeros.items() if name not in ("stem.weight", "depthwise.weight"))


def test_the_global_share_is_that_of_all_layers_together(sparsified):
    weights, _ = sparsified(method="global", sparsity=0.3)
    arrays = [weights[f"{name}.weight"] for name in ("project", "expand", "back", "last", "head")]
    shares = {round(float((array == 0).mean()), 2) for array in arrays}
    assert len(shares) > 2
    total = sum(array.size for array in arrays)
    assert sum(int((array == 0).sum()) for array in arrays) == int(0.3 * total)


def test_two_of_four_input_channels_stay(sparsified):
    weights, _ = sparsified("attention", sparsity=0.5, block=4)
    blocks = (weights["inner.weight"] != 0).reshape(64, 8, 4).sum(axis=2)
    assert np.unique(blocks).tolist() == [2]


def test_a_fit_loses_less_than_zeros_alone_and_random_zeros_lose_more(sparsified):
    fitted, alone, random = (
        sparsified(**settings)[1]
        for settings in ({"method": "layer"}, {"method": "layer", "refits": False}, {"method": "random"})
    )
    assert fitted < 0.5 * alone
    assert fitted < random


@pytest.mark.parametrize(
    ("settings", "device", "reason"),
    [
        ({"sparsity": 0.0}, "pi4", "sparsity=0; expected more than 0 and less than 1"),
        ({"sparsity": 1.0}, "pi4", "sparsity=1; expected more than 0 and less than 1"),
        ({"block": 4}, "jetson-orin-nano", None),
        (
            {"block": 4},
            "pi4",
            (
                "Raspberry Pi 4 has no sparse tensor cores, so a pattern of blocks gains nothing there; block=0 loses "
                "less and makes the download as small"
            ),
        ),
        (
            {"block": 3},
            "jetson-orin-nano",
            "block=3 cannot lose sparsity=0.5 of its weights; 2:4 is sparsity=0.5,block=4",
        ),
        (
            {"block": 4, "method": "global"},
            "jetson-orin-nano",
            "block=4 takes the same share of every block, and method=global does not",
        ),
    ],
    ids=["none", "all", "2:4 on Ampere", "2:4 on a Pi", "odd block", "global blocks"],
)
def test_reasons(tiny, settings, device, reason):
    profile = find_profile(device, Path())
    task = Task(model="net.py:build", base=Path(), calibration="data.py:calibration")
    found = Sparsify(**settings).why_not_usable(tiny("convolutions").model, task, profile)
    expected = reason and reason.replace("Raspberry Pi 4", profile.title)
    assert found == expected


def test_recurrent_models_are_refused(tiny):
    model = replace(tiny("convolutions").model, family="rnn")
    task = Task(model="net.py:build", base=Path())
    assert Sparsify().why_not_usable(model, task, find_profile("pi4", Path())) == (
        "it changes convolutions and linear layers, and nearly all weights of this model are recurrent"
    )


def test_a_block_that_divides_no_layer_is_named(tiny, tmp_path):
    given = tiny("convolutions")
    context = Context(samples=given.samples, scratch=tmp_path / "scratch", progress=silent)
    message = (
        r"^sparsify cannot be used on convolutions\.py:build: it has no convolution and no linear layer that reads a "
        r"multiple of block=10 channels\.$"
    )
    with pytest.raises(TechniqueError, match=message):
        Sparsify(block=10).run(given.model, context, tmp_path / "out")


def test_the_effect_says_what_dense_hardware_gains(tiny):
    from edgekit.analysis.analyze import analyze

    estimate = Sparsify(sparsity=0.6).estimate(analyze("pt2", tiny("convolutions").model.path))
    assert estimate.effect == ("60% zeros: a smaller download; on dense hardware file, memory and latency stay.")
