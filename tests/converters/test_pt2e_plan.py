from __future__ import annotations

import pytest

from edgekit.quantization.pt2e_graph import modules_of, read_float_graph, target_of
from edgekit.quantization.pt2e_plan import parted_grids, plan_quantization
from edgekit.quantization.ranges import Range
from edgekit.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, while it opens a program

STATIC = Recipe(default="int8_static")


def planned(tiny, name, recipe=STATIC, target="xnnpack"):
    graph = read_float_graph(tiny(name).captured)
    return {node.name: node for node in graph.module.graph.nodes}, plan_quantization(graph.module, recipe, target)


@pytest.mark.parametrize("target", ["xnnpack", "mil"])
def test_a_convolution_whose_output_is_clamped_gets_its_grid_after_the_clamp(tiny, target):
    nodes, plan = planned(tiny, "convolutions", target=target)
    clamped = [n for n in nodes.values() if target_of(n) == "aten.hardtanh.default"]
    assert len(clamped) == 2
    for clamp in clamped:
        assert clamp.name in plan.group_of
        assert clamp.args[0].name not in plan.group_of


def test_symmetric_padding_becomes_part_of_its_convolution_and_asymmetric_padding_stays(tiny):
    nodes, plan = planned(tiny, "convolutions")
    pads = [n for n in nodes.values() if target_of(n) == "aten.pad.default"]
    assert [list(n.args[1]) for n in pads] == [[0, 1, 0, 1]]
    assert not plan.transparent  # its input is the image, which no integer operator made


def test_inputs_of_a_concatenation_share_one_grid_with_its_output(tiny):
    nodes, plan = planned(tiny, "two_inputs")
    cat = next(n for n in nodes.values() if target_of(n) == "aten.cat.default")
    groups = {plan.group_of[n.name] for n in (*cat.args[0], cat)}
    assert len(groups) == 1


@pytest.mark.parametrize(("high", "groups"), [(0.24, 2), (0.26, 1)])
def test_an_input_that_is_read_elsewhere_too_and_far_narrower_has_a_grid_of_its_own(tiny, high, groups):
    nodes, plan = planned(tiny, "skipped")
    cat = next(n for n in nodes.values() if target_of(n) == "aten.cat.default")
    large, small = cat.args[0]
    ranges = {cat.name: Range(low=-0.5, high=0.5), large.name: Range(low=-0.01, high=0.01)}
    parted = parted_grids(plan, ranges | {small.name: Range(low=0.0, high=high)}).group_of
    assert parted[large.name] == parted[cat.name]  # the concatenation alone reads it: nothing would be gained
    assert len({parted[small.name], parted[cat.name]}) == groups


def test_an_override_by_module_name_keeps_that_module_float(tiny):
    recipe = Recipe(default="int8_static", overrides=(("hea*", "fp32"),))
    nodes, plan = planned(tiny, "convolutions", recipe)
    head = next(n for n in nodes.values() if "head" in modules_of(n) and target_of(n) == "aten.linear.default")
    assert plan.weighted[head.name] == "fp32"
    assert head.name not in plan.integer
    assert any(precision == "int8_static" for precision in plan.weighted.values())


def test_a_normalized_tensor_does_not_draw_additions_into_integers(tiny):
    nodes, plan = planned(tiny, "token_ids")
    assert {target_of(nodes[name]) for name in plan.integer} == {"aten.linear.default"}


def test_without_calibrated_activations_only_weights_are_planned(tiny):
    _, plan = planned(tiny, "token_ids", Recipe(default="int8_dynamic"))
    assert not plan.group_of
    assert sorted(plan.weighted.values()) == ["int8_dynamic"] * 3


@pytest.mark.parametrize("target", ["xnnpack", "mil"])
def test_a_hybrid_recipe_calibrates_convolutions_and_leaves_attention_float(tiny, target):
    nodes, plan = planned(tiny, "hybrid", Recipe(default="int8_hybrid"), target)
    by_module = {modules_of(nodes[name])[0]: precision for name, precision in plan.weighted.items()}
    assert by_module == {
        "stem": "int8_static",
        "keep": "int8_static",
        "query": "int8_dynamic",
        "value": "int8_dynamic",
        "fold": "int8_static",
        "head": "int8_dynamic",
    }
    integer = [target_of(nodes[name]) for name in plan.integer]
    assert integer.count("aten.add.Tensor") == 1  # that of the convolutions, not that of the tokens
    assert not {"aten.matmul.default", "aten.linear.default", "aten.layer_norm.default"} & set(integer)
    assert not plan.fallbacks
