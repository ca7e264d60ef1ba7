"""Layers and heads are found in the graph, measured, and cut out without a change to what stays."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from edgekit.errors import TechniqueError
from edgekit.techniques.base import Context, TorchModel
from edgekit.techniques.drop_layers import DropLayers
from edgekit.techniques.program_editing import open_graph, tensor_of
from edgekit.techniques.prune_heads import PruneHeads, heads_to_keep
from edgekit.techniques.transformer_blocks import find_attentions, find_parts
from edgekit.torch_program.program_archive import load_program
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")

ENCODERS = ("encoder", "encoder before")
PER_LAYER = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 2 * 32


def graph_of(given):
    return open_graph(TorchModel(facts=given.model, program=load_program(given.model.path, "test")))


def context(given, folder):
    return Context(samples=given.samples, scratch=folder / "scratch", progress=silent)


@pytest.mark.parametrize("name", ENCODERS)
def test_residual_blocks_and_layers_follow_each_other_without_a_gap(tiny, name):
    graph = graph_of(tiny(name))
    blocks, layers = find_parts(graph, "block"), find_parts(graph, "layer")
    assert [block.attends for block in blocks] == [True, False] * 3
    assert len(layers) == 3
    for parts in (blocks, layers):
        assert all(one.end is other.start for one, other in pairwise(parts))
    assert layers[0].title


def test_a_model_without_residuals_has_no_parts_and_its_convolutions_count_as_none(tiny):
    assert find_parts(graph_of(tiny("clamped")), "block") == ()
    assert find_parts(graph_of(tiny("convolutions")), "block") == ()


@pytest.mark.parametrize("name", ENCODERS)
def test_heads_are_found_with_their_layers(tiny, name):
    found, reasons = find_attentions(graph_of(tiny(name)))
    assert [(item.heads, item.width) for item in found] == [(4, 4)] * 3
    assert reasons == ()
    assert [str(node.args[1].target) for node in (*found[1].sources, found[1].out)] == [
        f"attentions.1.{part}.weight" for part in ("query", "key", "value", "out")
    ]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_dropped_layer_takes_its_weights_along(tiny, tmp_path, name):
    given = tiny(name)
    changed = DropLayers().run(given.model, context(given, tmp_path), tmp_path / "out")
    assert changed.parameters == given.model.parameters - PER_LAYER
    assert changed.macs == given.model.macs * 2 // 3
    assert len(find_parts(graph_of(type(given)(model=changed, samples=given.samples)), "layer")) == 2


def test_the_layer_goes_whose_absence_changes_the_outputs_least(tiny, tmp_path):
    given = tiny("encoder before")
    graph = graph_of(given)
    import torch

    errors = []
    for part in find_parts(graph, "layer"):
        without = graph_of(given)
        twin = {node.name: node for node in without.graph.nodes}
        twin[part.end.name].replace_all_uses_with(twin[part.start.name])
        without.recompile()
        with torch.no_grad():
            rows = [without(*(torch.from_numpy(x.copy()) for x in row)).numpy() for row in given.samples.rows()]
        errors.append(float(((np.concatenate(rows) - given.outputs()) ** 2).sum()))
    changed = DropLayers().run(given.model, context(given, tmp_path), tmp_path / "out")
    assert float(((given.outputs(changed) - given.outputs()) ** 2).sum()) == pytest.approx(min(errors), rel=1e-4)


@pytest.mark.parametrize(
    ("technique", "name", "message"),
    [
        pytest.param(
            DropLayers(count=3),
            "encoder",
            "drop_layers cannot leave out 3 of encoder.py:build: it has 3 layers around residual "
            "additions, and at least one has to stay.",
            id="all layers",
        ),
        pytest.param(
            PruneHeads(),
            "attention",
            "prune_heads cannot be used on attention.py:build: it has no attention of several heads that can be "
            "distinguished (matmul_1: its heads are not split off by a reshape to (1, tokens, heads, width)).",
            id="one head",
        ),
        pytest.param(
            PruneHeads(share=0.05),
            "encoder",
            "prune_heads changes nothing in encoder.py:build: share=0.05 is less than one of its 12 heads. Ask for "
            "more, or leave it out.",
            id="less than a head",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(tiny, tmp_path, technique, name, message):
    given = tiny(name)
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        technique.run(given.model, context(given, tmp_path), tmp_path / "out")


@pytest.mark.parametrize("name", ENCODERS)
def test_pruned_heads_take_their_rows_and_columns_along(tiny, tmp_path, name):
    given = tiny(name)
    changed = PruneHeads(share=0.5, spread="layer").run(given.model, context(given, tmp_path), tmp_path / "out")
    weights = load_program(changed.path, "test").state_dict
    assert tuple(weights["attentions.0.query.weight"].shape) == (8, 16)
    assert tuple(weights["attentions.2.out.weight"].shape) == (16, 8)
    assert changed.parameters == given.model.parameters - 3 * (3 * 8 * 17 + 8 * 16)
    assert changed.macs < given.model.macs


def test_a_head_that_puts_out_nothing_is_cut_without_a_change(tiny, tmp_path):
    import torch

    given = tiny("encoder")
    program = load_program(given.model.path, "test")
    name = "attentions.1.out.weight"
    program.state_dict[name].data[:, 4:8] = 0
    model = TorchModel(facts=given.model, program=program)
    changed = PruneHeads(share=0.09).apply(model, context(given, tmp_path))
    assert tuple(changed.program.state_dict[name].shape) == (16, 12)
    row = given.samples.arrays()[0][:1]
    before, after = (p.module(check_guards=False)(torch.from_numpy(row.copy())) for p in (program, changed.program))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert tensor_of(open_graph(model), name).shape == (16, 16)


@for_all(
    importance=st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=4),
    share=st.floats(0.01, 0.99),
    spread=st.sampled_from(["global", "layer"]),
)
def test_every_layer_keeps_its_best_head_and_no_more_go_than_requested(importance, share, spread):
    kept = heads_to_keep(importance, share, spread)
    gone = 4 * len(importance) - sum(map(len, kept))
    assert gone <= share * 4 * len(importance)
    assert all(max(layer) in [layer[head] for head in heads] for layer, heads in zip(importance, kept, strict=True))


def test_the_least_important_heads_of_the_whole_model_go_first():
    assert heads_to_keep([[9.0, 1.0, 8.0, 7.0], [5.0, 6.0, 2.0, 4.0]], 0.25, "global") == [[0, 2, 3], [0, 1, 3]]
    assert heads_to_keep([[9.0, 1.0, 8.0, 7.0], [15.0, 16.0, 12.0, 14.0]], 0.25, "layer") == [[0, 2, 3], [0, 1, 3]]
