"""Batch norms come back behind convolutions that had them, compute the identity at first, and are folded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.model import CapturedModel
from edgekit.techniques.base import TorchModel
from edgekit.techniques.program_editing import capture_graph
from edgekit.techniques.recovery import settled
from edgekit.training.batch_norms import insert_batch_norms, set_training
from edgekit.training.trainable import free_batch, make_trainable

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

FACTS = CapturedModel(
    name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("float.pt2"), inputs=(), outputs=(),
    digest="", parameters=0, macs=0, family="cnn",
)  # fmt: skip


def network(kind):
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
            self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.last = nn.Conv2d(8, 4, 1)
            self.layer = nn.LayerNorm(6) if kind == "layer norm" else nn.Identity()

        def forward(self, image):
            x = torch.relu(self.norm(self.stem(image)))
            x = self.layer(torch.relu(self.deep(x)) + x)
            return self.last(x)  # an output, which no batch norm stands behind

    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        made.norm.running_mean.uniform_(-3, 3)
        made.norm.running_var.uniform_(0.01, 50)
        made.deep.weight[2] = 0  # a channel that is constant
    return made.eval()


@pytest.fixture
def opened():
    import torch

    from edgekit.torch_program.canonical_program import canonical

    def open_one(kind="batch norm"):
        example = torch.randn(1, 3, 8, 8)
        program = canonical(torch.export.export(network(kind), (example,), strict=False), (example,), "network")
        model = TorchModel(facts=FACTS, program=program)
        graph = program.module(check_guards=False)
        free_batch(graph)
        return model, make_trainable(graph)

    return open_one


def batches():
    import torch

    torch.manual_seed(1)
    return [(torch.randn(16, 3, 8, 8),) for _ in range(3)]


def test_the_graph_computes_what_it_did_and_its_convolutions_are_on_one_scale(opened):
    import torch

    _, graph = opened()
    feed = torch.randn(5, 3, 8, 8)
    before = graph(feed)
    assert insert_batch_norms(graph, batches()) == 2
    assert torch.allclose(graph(feed), before, rtol=0, atol=1e-5 * float(before.abs().max()))
    norms = {name: module for name, module in graph.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert len(norms) == 2
    assert all(bool((module.running_var + module.eps - 1 < 1e-6).all()) for module in norms.values())


def test_in_training_a_norm_normalizes_and_afterwards_it_is_folded_away(opened):
    import torch

    model, graph = opened()
    insert_batch_norms(graph, batches())
    set_training(graph, training=True)
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.01)
    for inputs in batches():
        optimizer.zero_grad()
        graph(*inputs).square().mean().backward()
        optimizer.step()
    feed = torch.randn(5, 3, 8, 8)
    trained = settled(graph)
    expected = trained(feed)
    assert not any(module.training for module in trained.modules() if isinstance(module, torch.nn.BatchNorm2d))
    made = capture_graph(model, trained)
    names = [str(node.target) for node in made.program.graph.nodes]
    assert not any("batch_norm" in name for name in names)
    found = torch.cat([made.program.module()(row[None]) for row in feed])
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_a_network_that_normalizes_otherwise_is_left_alone(opened):
    _, graph = opened("layer norm")
    nodes = len(graph.graph.nodes)
    assert insert_batch_norms(graph, batches()) == 0
    assert len(graph.graph.nodes) == nodes


def test_a_convolution_whose_weights_others_read_gets_none(opened):
    import torch

    _, graph = opened()
    weight = next(node for node in graph.graph.nodes if node.op == "get_attr" and "stem.weight" in str(node.target))
    with graph.graph.inserting_after(weight):
        graph.graph.call_function(torch.ops.aten.add.Tensor, (weight, weight))
    assert insert_batch_norms(graph, batches()) == 1
