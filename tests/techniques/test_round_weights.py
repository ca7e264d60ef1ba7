from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.layer_moments import Moments
from edgekit.techniques.layer_walk import LayerWalk, NewWeights
from edgekit.techniques.program_editing import model_rows, open_graph, with_tensors
from edgekit.techniques.round_weights import RoundWeights
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")


def opened(tiny_model, model=None):
    facts = model or tiny_model.model
    return TorchModel(facts=facts, program=load_program(facts.path, "test"))


def context(tiny_model, folder):
    return Context(samples=tiny_model.samples, scratch=folder / "scratch", progress=silent)


def noise(tiny_model, technique, folder):
    """Returns the mean squared error of the outputs that rounding the weights causes, over their mean square."""
    changed = technique.run(tiny_model.model, context(tiny_model, folder), folder / "out")
    exact, rounded = tiny_model.outputs(), tiny_model.outputs(changed)
    return float(((rounded - exact) ** 2).mean() / (exact**2).mean())


@pytest.mark.parametrize(
    ("method", "name"), [("gptq", "convolutions"), ("gptq", "attention"), ("adaround", "attention")]
)
def test_learned_rounding_of_a_whole_model_beats_rounding_to_nearest(tiny, tmp_path, method, name):
    settings = {"activations": "float", "bits": 4 if name == "attention" else 8, "group_size": 32}
    for kind in ("nearest", method):
        (tmp_path / kind).mkdir()
    nearest = noise(tiny(name), RoundWeights(method="nearest", **settings), tmp_path / "nearest")
    learned = noise(tiny(name), RoundWeights(method=method, iterations=300, **settings), tmp_path / method)
    assert learned < nearest


def test_groups_of_4_bit_weights_lie_on_a_grid_whose_scale_has_8_significant_bits(tiny, tmp_path):
    import torch

    given = tiny("attention")
    changed = RoundWeights(bits=4, group_size=16).run(given.model, context(given, tmp_path), tmp_path / "out")
    before, after = (load_program(model.path, "test").state_dict for model in (given.model, changed))
    linear = [name for name, tensor in after.items() if tensor.ndim == 2 and "table" not in name]
    assert len(linear) == 6
    for name in linear:
        groups = after[name].detach().reshape(-1, 16)
        scale = groups.abs().amax(dim=1, keepdim=True) / 7
        assert torch.equal(scale, scale.to(torch.bfloat16).float())
        integers = groups / scale
        assert torch.allclose(integers, integers.round(), atol=1e-4)
        assert int(integers.abs().amax(dim=1).round().min()) == 7
    assert torch.equal(before["table.weight"], after["table.weight"])


def test_a_layer_whose_width_the_groups_do_not_divide_keeps_8_bits(tiny, tmp_path):
    given = tiny("attention")
    changed = RoundWeights(bits=4, group_size=64).run(given.model, context(given, tmp_path), tmp_path / "out")
    weights = load_program(changed.path, "test").state_dict
    wide = weights["outer.weight"].detach()
    narrow = weights["query.weight"].detach()
    assert len((wide[0] / (wide[0].abs().max() / 7)).round().unique()) <= 15
    assert len((narrow[0] / (narrow[0].abs().max() / 127)).round().unique()) > 15


def test_a_walk_that_changes_nothing_shows_the_same_values_twice(tiny):
    given = tiny("convolutions")
    model = opened(given)
    seen = []

    def learn(layer, share):
        seen.append((layer.name, share))
        for one, other in zip(layer.exact, layer.rounded, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        return NewWeights(weight=layer.weight, bias=layer.bias)

    walk = LayerWalk(open_graph(model), rounds_activations=False)
    changed = walk.run(model_rows(model, given.samples, range(4)), learn)
    names = ["stem", "depthwise", "project", "expand", "back", "last", "head"]
    assert seen == [(f"{name}.weight", i / 7) for i, name in enumerate(names)]
    assert walk.layers() == [f"{name}.weight" for name in names]
    assert set(changed) == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    same = with_tensors(model, changed)
    for name, tensor in same.program.state_dict.items():
        np.testing.assert_array_equal(tensor.detach(), model.program.state_dict[name].detach())


def test_a_walk_with_integer_activations_rounds_after_the_clamp_and_not_before(tiny):
    given = tiny("convolutions")
    model = opened(given)
    steps = {}

    def learn(layer, share):
        del share
        values = np.concatenate([value.numpy().ravel() for value in layer.rounded])
        steps[layer.name] = (len(np.unique(np.round(values, 5))), float(values.max()), layer.clamp)
        return NewWeights(weight=layer.weight, bias=layer.bias)

    LayerWalk(open_graph(model), rounds_activations=True).run(model_rows(model, given.samples, range(8)), learn)
    assert all(count <= 256 for count, _, _ in steps.values())
    # The stem's ReLU6 is what has the grid: no step is spent above 6 or below 0.
    assert steps["depthwise.weight"][1] <= 6.0001
    assert steps["stem.weight"][2] is not None
    assert steps["project.weight"][2] is None


def test_more_samples_than_memory_holds_are_not_taken(tiny, monkeypatch):
    graph = open_graph(opened(tiny("convolutions")))
    whole = LayerWalk(graph, rounds_activations=True).sample_limit()
    monkeypatch.setattr("edgekit.techniques.layer_walk.MEMORY_BYTES", 200_000)
    few = LayerWalk(graph, rounds_activations=True).sample_limit()
    assert 1 <= few < whole


def moments(tiny_model, count, name="back.weight"):
    found = {}

    def learn(layer, share):
        del share
        if layer.name == name:
            found["moments"] = Moments.of(layer)
            # The walk frees its values when their last reader has run.
            found["layer"] = replace(layer, exact=tuple(layer.exact), rounded=tuple(layer.rounded))
        return NewWeights(weight=layer.weight * 1.01, bias=layer.bias)

    model = opened(tiny_model)
    walk = LayerWalk(open_graph(model), rounds_activations=True)
    walk.run(model_rows(model, tiny_model.samples, range(count)), learn)
    return found["moments"], found["layer"]


def test_the_best_fit_is_nearer_to_the_float_outputs_than_the_float_weights_are(tiny):
    import torch

    found, layer = moments(tiny("convolutions"), 24)
    weight = layer.form.problems(layer.weight.double())
    wanted = torch.cat([weight @ layer.form.columns(x).double() for x in layer.exact], dim=2)
    errors = []
    for tried in (weight, found.best_fit(weight)):
        made = torch.cat([tried @ layer.form.columns(x).double() for x in layer.rounded], dim=2)
        errors.append(float((made - wanted).var(dim=2).mean()))
    assert errors[1] < errors[0]


def test_fewer_samples_are_trusted_less(tiny):
    few, _ = moments(tiny("convolutions"), 3)
    many, _ = moments(tiny("convolutions"), 24)
    assert float(few.shrinkage.mean()) > float(many.shrinkage.mean())


def test_shrinking_keeps_the_trace(tiny):
    import torch

    found, layer = moments(tiny("convolutions"), 6)
    columns = torch.cat([layer.form.columns(x) for x in layer.rounded], dim=2).double()
    measured = columns.var(dim=2, correction=0).mean(dim=1)
    np.testing.assert_allclose(found.hessian.diagonal(dim1=1, dim2=2).mean(dim=1), measured, rtol=1e-6)
