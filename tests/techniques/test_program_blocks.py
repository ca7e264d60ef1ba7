"""Where a graph is cut, on networks whose blocks are known."""

from __future__ import annotations

import pytest

from edgekit.quantization.pt2e_graph import read_float_graph
from edgekit.techniques.program_blocks import find_blocks, inputs_of, run_block

pytestmark = pytest.mark.filterwarnings("ignore")


def layers_of(block):
    """Returns the names of a block's layers: of their weights, without the last word."""
    targets = [str(node.args[1].target) for node in block.nodes if is_layer(node)]
    return [name.removesuffix(".weight") for name in targets if name.endswith(".weight")]


def test_a_residual_block_is_one_and_a_chain_is_cut_after_three_layers(tiny):
    blocks = find_blocks(read_float_graph(tiny("convolutions").model).module)
    assert [layers_of(block) for block in blocks] == [
        ["stem", "depthwise", "project"],
        ["expand", "back", "last"],
        ["head"],
    ]


def test_attention_and_what_follows_it_are_blocks_and_a_mask_is_alive_in_all_of_them(tiny):
    blocks = find_blocks(read_float_graph(tiny("encoder").model).module)
    found = [layers_of(block) for block in blocks]
    assert [len(names) for names in found] == [4, 2, 4, 2, 4, 2]
    ids = inputs_of(read_float_graph(tiny("encoder").model).module)[0].name
    assert [ids in {item.name for item in block.feeds} for block in blocks] == [True, False] * 3


@pytest.mark.parametrize("name", ["convolutions", "attention", "encoder", "encoder before"])
def test_blocks_one_after_the_other_compute_the_model(tiny, name):
    import torch

    given = tiny(name)
    module = read_float_graph(given.model).module
    blocks = find_blocks(module)
    row = next(iter(given.samples.rows()))
    values = {node: torch.from_numpy(array.copy()) for node, array in zip(inputs_of(module), row, strict=True)}
    with torch.no_grad():
        for block in blocks:
            values.update(zip(block.results, run_block(module, block, values), strict=True))
    (result,) = blocks[-1].results
    torch.testing.assert_close(values[result].numpy(), given.outputs()[:1])
    every = [node for block in blocks for node in block.nodes if is_layer(node)]
    assert len(every) == len(set(every))


def is_layer(node):
    """Returns whether a node is a layer with weights."""
    return node.op == "call_function" and any(word in str(node.target) for word in ("conv", "linear"))


@pytest.mark.parametrize(("name", "local"), [("convolutions", [True, False, False]), ("attention", [False] * 2)])
def test_only_pictures_are_looked_at_in_part(tiny, name, local):
    assert [block.is_local for block in find_blocks(read_float_graph(tiny(name).model).module)] == local
