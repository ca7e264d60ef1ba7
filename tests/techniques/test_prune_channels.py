"""Channels that depend on each other leave together, and what is left computes the same where they were dead."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TechniqueError
from edgekit.profiles.profile import find_profile
from edgekit.task.task import Task, Training
from edgekit.techniques import prune_channels
from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.channel_choice import choose_counts, cost_of, normalised, strongest
from edgekit.techniques.prune_channels import PruneChannels
from edgekit.training.training_data import TrainingData
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports


def captured(facts, network, example):
    import torch

    from edgekit.torch_program.canonical_program import canonical

    program = torch.export.export(network.eval(), (example,), strict=False)
    return TorchModel(facts=facts, program=canonical(program, (example,), "network"))


@pytest.fixture(scope="module")
def winding(tiny):
    """A network in which channels are added, gated, concatenated, flattened and filtered one by one."""
    import torch
    from torch import nn

    class Winding(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.side = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
            self.other = nn.Conv2d(8, 4, 1)
            self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
            self.head = nn.Linear(6 * 16, 5)

        def forward(self, image):
            x = torch.relu(self.stem(image))
            x = torch.relu(self.depthwise(x + self.side(x)))
            gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
            x = x * gate[:, :, None, None]
            x = torch.cat([x, nn.functional.hardtanh(self.other(x), 0.0, 6.0)], 1)
            x = nn.functional.max_pool2d(torch.relu(self.up(x)), 2)
            return self.head(x.flatten(1))

    torch.manual_seed(0)
    return captured(tiny("convolutions").model, Winding(), torch.randn(1, 3, 4, 4))


def groups_of(model):
    from edgekit.techniques.dependency_groups import Dependencies
    from edgekit.techniques.program_editing import open_graph

    graph = open_graph(model)
    return graph, Dependencies(graph)


def test_groups_follow_additions_gates_concatenations_and_flattening(winding):
    _, found = groups_of(winding)
    free = found.free()
    assert sorted((group.channels, len(group.writers)) for group in free.values()) == [(4, 1), (4, 1), (6, 1), (8, 3)]
    (wide,) = (group for group in free.values() if group.channels == 8)
    assert [node.args[1].target for node in wide.writers] == ["stem.weight", "side.weight", "excite.weight"]
    concatenated = next(pieces for node, pieces in found.read.items() if node.args[1].target == "up.weight")
    flattened = next(pieces for node, pieces in found.read.items() if node.args[1].target == "head.weight")
    assert len(concatenated.pieces) == 2
    assert [piece.repeat for piece in flattened.pieces] == [16]


def test_removing_dead_channels_changes_nothing(winding):
    import torch

    from edgekit.techniques.channel_removal import remove_channels
    from edgekit.techniques.dependency_groups import Dependencies
    from edgekit.techniques.program_editing import capture_graph, open_graph, with_tensors

    state = {name: tensor.clone() for name, tensor in winding.program.state_dict.items()}
    for name, dead in (("stem", [1, 5]), ("side", [1, 5]), ("depthwise", [1, 5]), ("squeeze", [0]), ("other", [2])):
        state[f"{name}.weight"][dead] = 0
        state[f"{name}.bias"][dead] = 0
    state["up.weight"][:, 3], state["up.bias"][3] = 0, 0
    model = with_tensors(winding, state)
    graph = open_graph(model)
    found = Dependencies(graph)
    dead = {"stem": [1, 5], "squeeze": [0], "other": [2], "up": [3]}
    kept = {}
    for index, group in found.free().items():
        gone = dead[group.writers[0].args[1].target.partition(".")[0]]
        kept[index] = torch.tensor([i for i in range(group.channels) if i not in gone])
    remove_channels(graph, found, kept)
    smaller = capture_graph(model, graph)
    image = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        before, after = (item.program.module(check_guards=False)(image) for item in (model, smaller))
    torch.testing.assert_close(after, before)
    assert tuple(smaller.program.state_dict["head.weight"].shape) == (5, 5 * 16)
    assert tuple(smaller.program.state_dict["up.weight"].shape) == (9, 5, 2, 2)


@pytest.mark.parametrize("name", ["attention", "recurrent", "clamped"])
def test_what_mixes_channels_blocks_them(tiny, name):
    import torch

    model = tiny(name).model
    _, found = groups_of(TorchModel(facts=model, program=torch.export.load(model.path)))
    # Of a transformer only the wide layer between two linear ones is free: heads and the residual stream are not.
    assert [group.channels for group in found.free().values()] == ([64] if name == "attention" else [])


def test_costs_fall_with_channels_as_the_pruned_network_counts_them(winding):
    import torch

    from edgekit.techniques.channel_removal import remove_channels
    from edgekit.techniques.program_editing import capture_graph

    graph, found = groups_of(winding)
    counts = {index: group.channels // 2 for index, group in found.free().items()}
    expected = cost_of(graph, found, counts)
    remove_channels(graph, found, {index: torch.arange(count) for index, count in counts.items()})
    smaller, left = groups_of(capture_graph(winding, graph))
    measured = cost_of(smaller, left, {})
    assert expected.macs == pytest.approx(measured.macs)
    assert expected.parameters == pytest.approx(measured.parameters)


def test_taylor_importance_is_the_squared_gradient_of_a_gate(winding):
    """Molchanov et al. 2019, section 3.2: a gate of 1 behind a layer has this gradient."""
    import torch

    from edgekit.techniques.channel_importance import taylor
    from edgekit.techniques.program_editing import open_graph
    from edgekit.training.trainable import free_batch, make_trainable

    graph = open_graph(winding)
    free_batch(graph)
    make_trainable(graph.double())
    _, found = groups_of(winding)
    data = TrainingData(batches=lambda _: [], loss=torch.nn.functional.cross_entropy)
    batch = ((torch.randn(6, 3, 4, 4).double(),), torch.randint(0, 5, (6,)))
    scores = taylor(graph, found, data, [batch])
    index = next(i for i, group in found.free().items() if group.writers[0].args[1].target == "other.weight")
    weight, bias = graph.get_parameter("other.weight"), graph.get_parameter("other.bias")
    gradients = []
    for channel in range(4):
        step, sides = 1e-5, []
        for gate in (1 + step, 1 - step):
            with torch.no_grad():
                kept = weight[channel].clone(), bias[channel].clone()
                weight[channel] *= gate
                bias[channel] *= gate
                sides.append(float(torch.nn.functional.cross_entropy(graph(*batch[0]), batch[1])))
                weight[channel], bias[channel] = kept
        gradients.append((sides[0] - sides[1]) / (2 * step))
    torch.testing.assert_close(scores[index], torch.tensor(gradients).double() ** 2, rtol=1e-3, atol=1e-12)


def test_magnitudes_sum_over_all_weights_of_a_channel(winding):
    import torch

    from edgekit.techniques.channel_importance import magnitudes

    graph, found = groups_of(winding)
    state = {name: tensor.double() for name, tensor in winding.program.state_dict.items()}
    index = next(i for i, group in found.free().items() if group.channels == 6)
    by_hand = state["up.weight"].abs().sum((0, 2, 3)) + state["head.weight"].abs().sum(0).reshape(6, 16).sum(1)
    torch.testing.assert_close(magnitudes(graph, found, 1)[index], by_hand)


def choice(scope, limit, multiple=1, least=0.0):
    import torch

    importance = {0: torch.tensor([1.0, 2.0, 3.0, 4.0]), 1: torch.tensor([10.0, 20.0, 30.0, 40.0])}

    def cost(counts):
        return float(sum(counts.values()))

    counts = choose_counts(importance, {0: 4, 1: 4}, cost, limit, scope=scope, multiple=multiple, least=least, tries=24)
    return [counts[0], counts[1]], {index: kept.tolist() for index, kept in strongest(importance, counts).items()}


@pytest.mark.parametrize(
    ("scope", "limit", "multiple", "least", "counts"),
    [
        ("global", 8, 1, 0.0, [4, 4]),
        ("global", 6, 1, 0.0, [2, 4]),
        ("global", 4, 1, 0.5, [2, 2]),
        ("layer", 6, 1, 0.0, [3, 3]),
        ("layer", 6, 2, 0.0, [2, 2]),
        ("global", 1, 2, 0.0, [2, 2]),
    ],
    ids=["nothing to do", "global", "least", "layer", "multiples", "out of reach"],
)
def test_the_most_channels_within_the_limit_stay(scope, limit, multiple, least, counts):
    assert choice(scope, limit, multiple, least)[0] == counts


def test_the_most_important_channels_stay_in_order():
    import torch

    assert choice("global", 6)[1] == {0: [2, 3]}
    assert normalised({0: torch.tensor([1.0, 3.0])})[0].tolist() == [0.5, 1.5]


def training_data(**changes):
    import torch

    def batches(epoch):
        for _ in range(4):
            yield (torch.randn(8, 3, 16, 16),), torch.randint(0, 10, (8,))

    return TrainingData(batches=batches, loss=torch.nn.functional.cross_entropy, **changes)


def context(folder, **changes):
    return Context(samples=None, scratch=folder / "scratch", progress=silent, training=training_data(), **changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"importance": "taylor", "steps": 2},
        {"importance": "l1", "scope": "layer", "target": "size"},
        {"importance": "random", "target": "latency", "device": "pi4", "ratio": 0.96, "teacher_share": 0.0},
    ],
    ids=["macs in two steps", "size, layer by layer", "predicted latency"],
)
def test_the_target_is_met(tiny, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(prune_channels, "_LATENCY_TRIES", 2)
    given = tiny("convolutions").model
    technique = PruneChannels(multiple=2, **{"ratio": 0.7, **settings})
    made = technique.run(given, context(tmp_path), tmp_path / "out")
    assert made.macs < given.macs
    assert made.parameters < given.parameters
    if technique.target == "macs":
        assert made.macs <= 0.7 * given.macs


def test_what_is_left_can_start_again_from_early_values(tiny, tmp_path):
    import torch

    given = tiny("convolutions").model
    (tmp_path / "net.py").write_text(
        f"import torch\ndef early():\n    program = torch.export.load({str(given.path)!r})\n"
        "    with torch.no_grad():\n        [t.mul_(0.5) for t in program.state_dict.values()]\n"
        "    return Wrapped(program.module(check_guards=False))\n"
        "class Wrapped(torch.nn.Module):\n    def __init__(self, graph):\n        super().__init__()\n"
        "        self.inner = graph\n    def eval(self):\n        return self\n"
        "    def forward(self, image):\n        return self.inner(image)\n"
        "def other():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 10))\n"
    )
    technique = PruneChannels(multiple=2, ratio=0.7, importance="l2", rewind="net.py:early", learning_rate=1e-9)
    made = technique.run(given, context(tmp_path, base=tmp_path), tmp_path / "out")
    before, after = (torch.export.load(item.path).state_dict for item in (given, made))
    wide = next(name for name in after if name.endswith("head.bias"))
    torch.testing.assert_close(after[wide], 0.5 * before["head.bias"])
    message = (
        "prune_channels: rewind=net.py:other returned another network than convolutions.py:build; expected the same "
        "layers with the values that they had early in training."
    )
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        replace(technique, rewind="net.py:other").run(given, context(tmp_path, base=tmp_path), tmp_path / "other")


def test_a_target_out_of_reach_says_what_can_be_reached(tiny, tmp_path):
    given = tiny("convolutions").model
    pattern = (
        r"^prune_channels cannot bring convolutions\.py:build to 0\.01 of its macs: with least=0\.5 and multiple=8 "
        r"it is 0\.\d\d at best\. Lower them, or ask for less\.$"
    )
    with pytest.raises(TechniqueError, match=pattern):
        PruneChannels(ratio=0.01, least=0.5, importance="l1").run(given, context(tmp_path), tmp_path / "out")


def test_a_device_without_a_latency_model_is_named(tiny, tmp_path):
    given = tiny("convolutions").model
    pattern = r"^pi4 has no prediction for nothing: .* Give target=macs, or another runtime\.$"
    with pytest.raises(TechniqueError, match=pattern):
        PruneChannels(target="latency", device="pi4", runtime="nothing").run(given, context(tmp_path), tmp_path / "o")


@pytest.mark.parametrize(
    ("settings", "family", "reason"),
    [
        ({}, "rnn", "it removes channels of convolutions and linear layers, and this model is recurrent"),
        ({"ratio": 1.0}, "cnn", "ratio=1; expected more than 0 and less than 1"),
        (
            {"steps": 0},
            "cnn",
            "multiple=8, steps=0, least=0.125 and teacher_share=0.5: expected at least 1, at least 1, and 0 to 1 twice",
        ),
        ({"target": "latency"}, "cnn", "target=latency needs device=NAME: a latency is a device's"),
    ],
    ids=["recurrent", "ratio", "steps", "device"],
)
def test_wrong_settings_are_refused_before_any_work(tiny, settings, family, reason):
    task = Task(model="net.py:build", base=Path(), training=Training(batches="t.py:b", loss="t.py:l"))
    model = replace(tiny("convolutions").model, family=family)
    assert PruneChannels(**settings).why_not_usable(model, task, find_profile("pi4", Path())) == reason
