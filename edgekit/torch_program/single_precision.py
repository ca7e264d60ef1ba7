"""Computes in float32 what a model computes in bfloat16, float16 or float64. Runs in a worker that has torch.

Formats choose their own half precision when they are asked for it; what the model's code casts to is a matter of the
machine that it was trained on. Few runtimes have kernels for bfloat16 or float64 at all. Inputs and outputs keep their
types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.torch_program.graph_nodes import change_weights, operator_name

if TYPE_CHECKING:
    from torch.fx import GraphModule


def other_floats(graph_module: GraphModule) -> set[str]:
    """Returns the floating-point types other than float32 that a graph computes in, `bfloat16` for example."""
    import torch

    found = {getattr(node.meta.get("val"), "dtype", None) for node in graph_module.graph.nodes}
    others = (torch.bfloat16, torch.float16, torch.float64)
    return {str(dtype).removeprefix("torch.") for dtype in others if dtype in found}


def use_single_precision(graph_module: GraphModule) -> bool:
    """Makes a graph compute in float32, in place; returns whether it computed in another type.

    `meta["val"]` is not brought up to date: export the module again.
    """
    import torch
    from torch.fx.node import map_aggregate

    if not other_floats(graph_module):
        return False
    others = (torch.bfloat16, torch.float16, torch.float64)
    graph = graph_module.graph

    def single(value: Any) -> Any:
        return torch.float32 if value in others else value

    for node in list(graph.nodes):
        if node.op == "call_function" and "quantize" not in operator_name(node):
            node.args = map_aggregate(
                node.args, lambda value: single(value) if isinstance(value, torch.dtype) else value
            )
            node.kwargs = map_aggregate(
                node.kwargs, lambda value: single(value) if isinstance(value, torch.dtype) else value
            )
        elif node.op == "placeholder" and node.meta["val"].dtype in others:
            with graph.inserting_after(node):
                cast = graph.call_function(torch.ops.aten.to.dtype, (node, torch.float32))
            cast.meta = {key: node.meta[key] for key in node.meta if key != "val"}
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)
    _keep_output_types(graph_module)
    change_weights(graph_module, lambda tensor: tensor.dtype in others, lambda tensor: tensor.float())
    graph.lint()
    graph_module.recompile()
    return True


def _keep_output_types(graph_module: GraphModule) -> None:
    """Casts outputs back to the type that they had."""
    import torch

    graph = graph_module.graph
    output = next(node for node in graph.nodes if node.op == "output")
    for node in list(output.all_input_nodes):
        dtype = getattr(node.meta.get("val"), "dtype", torch.float32)
        if dtype in (torch.bfloat16, torch.float16, torch.float64):
            with graph.inserting_before(output):
                cast = graph.call_function(torch.ops.aten.to.dtype, (node, dtype))
            cast.meta = dict(node.meta)
            output.replace_input_with(node, cast)
