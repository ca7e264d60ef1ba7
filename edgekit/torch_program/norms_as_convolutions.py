"""Batch norms that follow no layer, as depthwise convolutions. Runs in a worker that has torch.

In eval mode a batch norm multiplies each channel and adds to it, which a 1 x 1 convolution with one filter a channel
does too: y[c] = s[c] x[c] + (beta[c] - mean[c] s[c]), s as in `fold_batch_norm`. XNNPACK makes that convolution itself,
but of float weights beside an integer input, and then refuses it. Made before quantization, its weights get scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgekit.torch_program.fold_batch_norm import BATCH_NORMS, normalisation_of
from edgekit.torch_program.graph_nodes import operator_name

if TYPE_CHECKING:
    from torch.fx import GraphModule

_LEAST_RANK: Final = 3
_MOST_RANK: Final = 4


def make_norms_convolutions(graph_module: GraphModule) -> int:
    """Replaces in place every batch norm over (1, C, L) or (1, C, H, W), and returns how many."""
    import torch

    count = 0
    for node in list(graph_module.graph.nodes):
        if operator_name(node) not in BATCH_NORMS:
            continue
        rank = len(node.args[0].meta["val"].shape)
        found = normalisation_of(graph_module, node)
        if found is None or not _LEAST_RANK <= rank <= _MOST_RANK:
            continue
        weight = found.scale.float().reshape(-1, *[1] * (rank - 1))
        bias = (found.beta - found.mean * found.scale).float()
        name = f"{node.name}_as_convolution"
        graph_module.register_buffer(f"{name}_weight", weight)
        graph_module.register_buffer(f"{name}_bias", bias)
        aten = torch.ops.aten
        with node.graph.inserting_before(node):
            values = [node.graph.get_attr(f"{name}_{part}") for part in ("weight", "bias")]
            for value, tensor in zip(values, (weight, bias), strict=True):
                value.meta = {"val": tensor}
            sizes = ([1] * (rank - 2), [0] * (rank - 2), [1] * (rank - 2), weight.shape[0])
            target = aten.conv1d.default if rank == _LEAST_RANK else aten.conv2d.default
            made = node.graph.call_function(target, (node.args[0], *values, *sizes))
        made.meta = dict(found.result.meta)
        found.result.replace_all_uses_with(made)
        for old in dict.fromkeys((found.result, found.node)):
            node.graph.erase_node(old)
        count += 1
    if count:
        graph_module.graph.eliminate_dead_code()
        graph_module.recompile()
    return count
