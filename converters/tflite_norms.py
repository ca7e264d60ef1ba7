"""Layer normalization, written so that LiteRT's converter leaves its scale where it is.

LiteRT's converter moves a constant factor on a layer's input into the layer's weights. Behind a layer normalization the
integer layer then reads values without the norm's scale: what that scale was to even out (`smooth_activations`) is
undone, weights of very different size share a row, and weights that lie on a grid leave it. A factor that is no
constant stays where it is, so the scale meets the deviation first, which varies with the input.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.torch_program.graph_nodes import operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule


def keep_norm_scales(graph_module: GraphModule) -> None:
    """Writes each layer normalization with a scale as (x - mean) * (scale / deviation) + shift, in place.

    Norms that a model spells out in single operators need no help: their scales are left where they are.

    Args:
        graph_module: torch.fx.GraphModule of ATen operators.
    """
    for node in list(graph_module.graph.nodes):
        if operator_name(node) == "layer_norm" and len(node.args) > 2 and node.args[2] is not None:
            _spell_out(node)
    graph_module.graph.lint()
    graph_module.recompile()


def _spell_out(node: Node) -> None:
    """Puts single operators in the place of a layer normalization."""
    import torch

    aten = torch.ops.aten
    value, shape, scale = node.args[:3]
    shift = node.args[3] if len(node.args) > 3 else node.kwargs.get("bias")
    epsilon = node.args[4] if len(node.args) > 4 else node.kwargs.get("eps", 1e-5)
    axes = [-i for i in range(len(shape), 0, -1)]
    place: dict[str, object] = {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}

    def call(operator: Callable[..., object], *args: object) -> Node:
        made = node.graph.call_function(operator, args)
        made.meta.update(place)  # it belongs to the same module
        return made

    with node.graph.inserting_before(node):
        centred = call(aten.sub.Tensor, value, call(aten.mean.dim, value, axes, True))
        variance = call(aten.mean.dim, call(aten.mul.Tensor, centred, centred), axes, True)
        slope = call(aten.mul.Tensor, call(aten.rsqrt.default, call(aten.add.Tensor, variance, epsilon)), scale)
        result = call(aten.mul.Tensor, centred, slope)
        if shift is not None:
            result = call(aten.add.Tensor, result, shift)
    node.replace_all_uses_with(result)
    node.graph.erase_node(node)
