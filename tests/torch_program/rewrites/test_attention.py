"""Attention as two products and a softmax."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgekit.torch_program.graph_nodes import operator_name  # noqa: E402
from edgekit.torch_program.replace_operators import replace_operators  # noqa: E402
from edgekit.torch_program.rewrites.attention import attention_in_parts  # noqa: E402

NAME = "scaled_dot_product_attention"


class Attention(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value, mask=None):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, **self.options)


def inputs(*batch, places=5, seen=7, width=8):
    made = torch.Generator().manual_seed(0)
    shapes = ((places, width), (seen, width), (seen, 6))
    return tuple(torch.randn(*batch, *shape, generator=made) for shape in shapes)


@pytest.mark.parametrize(
    ("examples", "options"),
    [
        (inputs(1, 2), {}),
        (inputs(3), {"scale": 0.3}),
        (inputs(1, 2), {"is_causal": True}),
        ((*inputs(1, 2), torch.randn(1, 1, 5, 7)), {}),
        ((*inputs(1, 2), torch.arange(7) < torch.arange(1, 6)[:, None]), {}),
    ],
)
def test_the_parts_compute_what_the_whole_does(examples, options):
    module = torch.export.export(Attention(**options), examples).module()
    assert replace_operators(module, {NAME: attention_in_parts}) == 1
    assert NAME not in {operator_name(node) for node in module.graph.nodes}
    torch.testing.assert_close(module(*examples), Attention(**options)(*examples))


def test_heads_that_share_keys_stay_whole():
    query, key, value = inputs(1, 4)
    examples = (query, key[:, :2], value[:, :2])
    module = torch.export.export(Attention(enable_gqa=True), examples).module()
    assert replace_operators(module, {NAME: attention_in_parts}) == 0
