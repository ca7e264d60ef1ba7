from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.errors import TechniqueError
from edgekit.recipe import Recipe
from edgekit.samples import write_samples
from edgekit.simulation.jobs import RecipeTrial, SimulationData, SimulationRequest, simulate
from edgekit.techniques.base import Context
from edgekit.techniques.round_weights import RoundWeights
from edgekit.testing.tiny_models import TinyNetwork, capture_tiny
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def residual_network():
    """Returns a network of two residual blocks that does not look at the last channel of its pictures."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand = nn.Conv2d(8, 16, 1)
            self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.project = nn.Conv2d(16, 8, 1)

        def forward(self, x):
            return x + self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.head = nn.Linear(8, 10)

        def forward(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x.mean((2, 3)))

    net = Network()
    with torch.no_grad():
        net.stem.weight[:, 2] = 0
    return net


def pictures(count, seed, size=16):
    """Returns pictures (1, 3, size, size) of smooth patches with some noise, -2 to 2; the last channel -16 to 16."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(-2, 2, size=(count, 3, size // 4, size // 4))
    whole = (small.repeat(4, axis=2).repeat(4, axis=3) + 0.3 * rng.normal(size=(count, 3, size, size))).clip(-2, 2)
    whole[:, 2] *= 8
    return [(row[None].astype(np.float32),) for row in whole]


def decibels(folder, model, reference, samples, held):
    """Returns how near a model in static INT8, simulated, is to the float model."""
    data = SimulationData(model=model, samples=samples, held_out=held, reference=reference)
    trial = RecipeTrial(runtime="tflite", recipe=Recipe(default="int8_static"), metric="cosine", metric_sha256=None)
    journal = folder / f"journal-{model.digest[:8]}"
    journal.mkdir()
    request = SimulationRequest(data=data, journal=journal, base=folder, trials=(trial,))
    return simulate(request, silent).results[0].sqnr_db


def changed_by(folder, technique, model, samples):
    folder.mkdir()
    context = Context(samples=samples, scratch=folder / "scratch", progress=silent)
    return technique.run(model, context, folder / "out")


@pytest.fixture
def residual(tmp_path):
    import torch

    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    network = TinyNetwork(build=residual_network, example=lambda: (torch.randn(1, 3, 16, 16),), family="cnn")
    model = capture_tiny("residual", network, tmp_path / "model").model
    names = [item.name for item in model.inputs]
    samples, held = (write_samples(tmp_path / f"data-{seed}", names, pictures(64, seed)) for seed in (1, 2))
    return model, samples, held


def test_learned_steps_pass_over_values_that_nothing_reads_on_samples_that_were_not_seen(residual, tmp_path):
    model, samples, held = residual
    found = {}
    for method in ("nearest", "adaround", "blocks"):
        changed = changed_by(tmp_path / method, RoundWeights(method=method, iterations=300), model, samples)
        found[method] = decibels(tmp_path, changed, model, samples, held)
        assert bool(changed.learned_ranges) == (method == "blocks")
    assert found["blocks"] > found["nearest"] + 0.5
    assert found["blocks"] > found["adaround"] + 0.5


def test_blocks_of_4_bit_weights_are_far_nearer_than_layers(tiny, tmp_path):
    given = tiny("encoder")
    rows = [(row,) for row in np.random.default_rng(0).integers(0, 50, (96, 1, 12))]
    names = [item.name for item in given.model.inputs]
    samples, held = (write_samples(tmp_path / part, names, rows[i::2]) for i, part in enumerate(("fit", "held")))
    judged = replace(given, samples=held)
    noise = {}
    for method in ("nearest", "adaround", "blocks"):
        technique = RoundWeights(method=method, bits=4, group_size=16, iterations=400)
        changed = changed_by(tmp_path / method, technique, given.model, samples)
        noise[method] = float(((judged.outputs(changed) - judged.outputs()) ** 2).sum())
        assert not changed.learned_ranges
    assert noise["blocks"] < 0.5 * noise["nearest"]
    assert noise["blocks"] < 0.7 * noise["adaround"]


def test_a_program_that_spells_out_a_batch_of_1_is_refused(tmp_path):
    import torch
    from torch import nn

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            return self.inner(x.reshape(4, 2).reshape(1, 8))

    folder = tmp_path / "model"
    folder.mkdir()
    network = TinyNetwork(build=Fixed, example=lambda: (torch.randn(1, 8),), family="mlp")
    made = capture_tiny("fixed", network, folder)
    with pytest.raises(
        TechniqueError,
        match=r"round_weights:method=blocks: fixed.py:build cannot be trained in batches: .* A forward that spells out "
        r"a batch of 1 must use x\.shape\[0\] or -1 instead\.$",
    ):
        changed_by(tmp_path / "out", RoundWeights(method="blocks", iterations=1), made.model, made.samples)


def test_a_share_that_is_none_is_refused(residual):
    model = residual[0]
    technique = RoundWeights(method="blocks", drop=1.5)
    profile = type("Profile", (), {"options": {}})
    assert technique.why_not(model, None, profile) == "drop=1.5; expected 0 to 1"


@pytest.mark.parametrize("drop", [0.0, 0.5], ids=["exact never", "half exact"])
def test_the_same_seed_gives_the_same_weights(residual, tmp_path, drop):
    model, samples, _ = residual
    technique = RoundWeights(method="blocks", iterations=3, drop=drop)
    first, second = (changed_by(tmp_path / name, technique, model, samples) for name in ("one", "two"))
    assert first.digest == second.digest
