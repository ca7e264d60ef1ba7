from __future__ import annotations

import numpy as np
import pytest

from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.channel_spaces import find_channel_spaces
from edgekit.techniques.equalize import Equalize
from edgekit.techniques.program_editing import model_rows, open_graph
from edgekit.techniques.value_ranges import channel_ranges
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def opened(tiny_model):
    return TorchModel(facts=tiny_model.model, program=load_program(tiny_model.model.path, "test"))


def names(nodes):
    return [node.args[1].target for node in nodes]


@pytest.fixture(scope="module")
def equalized(tiny, tmp_path_factory):
    given, folder = tiny("convolutions"), tmp_path_factory.mktemp("equalized")
    context = Context(samples=given.samples, scratch=folder / "scratch", progress=silent)
    return given, Equalize().run(given.model, context, folder / "out")


def test_the_float_function_is_preserved_on_data(equalized):
    given, changed = equalized
    before, after = given.outputs(), given.outputs(changed)
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_channels_that_pass_a_clamp_stay_as_they_are(tiny, equalized):
    given, changed = equalized
    before, after = (load_program(model.path, "test").state_dict for model in (given.model, changed))
    for name in ("stem.weight", "stem.bias", "depthwise.weight"):
        np.testing.assert_array_equal(before[name].detach(), after[name].detach())
    assert not np.array_equal(before["project.weight"].detach(), after["project.weight"].detach())


def test_writers_of_a_residual_share_a_space_with_all_its_readers(tiny):
    spaces = find_channel_spaces(open_graph(opened(tiny("convolutions"))))
    found = [(names(space.writers), names(space.readers)) for space in spaces]
    assert (["project.weight", "back.weight"], ["expand.weight", "last.weight"]) in found
    assert (["expand.weight"], ["back.weight"]) in found
    assert (["last.weight"], ["head.weight"]) in found
    assert len(found) == 3


def test_channels_of_one_tensor_become_more_alike(equalized):
    given, changed = equalized
    spreads = []
    for model in (given.model, changed):
        graph = open_graph(TorchModel(facts=model, program=load_program(model.path, "test")))
        space = next(space for space in find_channel_spaces(graph) if "project.weight" in names(space.writers))
        rows = model_rows(TorchModel(facts=model, program=None), given.samples, range(given.samples.count))
        ranges = channel_ranges(graph, space.tensors, rows, silent)
        reach = np.max([ranges[tensor].numpy() for tensor in space.tensors], axis=0)
        spreads.append(reach.max() / reach.min())
    assert spreads[1] < 0.5 * spreads[0]


def test_a_strength_of_one_evens_out_the_activations_alone(tiny, tmp_path):
    given = tiny("convolutions")
    context = Context(samples=given.samples, scratch=tmp_path / "scratch", progress=silent)
    changed = Equalize(strength=1.0).run(given.model, context, tmp_path / "out")
    graph = open_graph(TorchModel(facts=changed, program=load_program(changed.path, "test")))
    space = next(space for space in find_channel_spaces(graph) if "expand.weight" in names(space.writers))
    rows = model_rows(TorchModel(facts=changed, program=None), given.samples, range(given.samples.count))
    ranges = channel_ranges(graph, space.tensors, rows, silent)
    reach = np.max([ranges[tensor].numpy() for tensor in space.tensors], axis=0)
    np.testing.assert_allclose(reach, reach.mean(), rtol=1e-3)


def _spaces_of(module, *inputs):
    import torch

    from edgekit.torch_program.canonical_program import canonical

    program = canonical(torch.export.export(module.eval(), inputs, strict=False), inputs, "test")
    return find_channel_spaces(program.module(check_guards=False))


@pytest.mark.parametrize("kind", ["relu6", "sigmoid", "output", "grouped", "shared", "reshape"])
def test_channels_that_cannot_be_scaled_exactly_are_left_alone(kind):
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2 if kind == "grouped" else 1)

        def forward(self, x):
            y = self.first(x)
            if kind == "relu6":
                y = nn.functional.relu6(y)
            elif kind == "sigmoid":
                y = y + torch.sigmoid(y)
            elif kind == "shared":
                y = self.first(y)
            elif kind == "reshape":
                y = y.reshape(1, 2, 4, 8).reshape(1, 4, 4, 4)
            z = self.second(y)
            return (z, y) if kind == "output" else z

    assert _spaces_of(Model(), torch.randn(1, 4, 4, 4)) == []
