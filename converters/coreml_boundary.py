"""Inputs that Core ML's multi-arrays cannot be: single numbers and bytes are taken as the nearest one."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from edgekit.quantization.pt2e_graph import FloatGraph, placeholders
from edgekit.quantization.pt2e_quantization import QuantizedGraph
from edgekit.torch_program.torch_protocols import Node

G = TypeVar("G", FloatGraph, QuantizedGraph)


def take_multi_arrays(graph: G) -> G:
    """Returns the graph (changed in place) with inputs that a multi-array can be.

    A single number comes as an array of one, which is squeezed inside; bytes come as int32, which holds their values.
    """
    import torch

    examples = list(graph.example_inputs)
    for place, node in enumerate(placeholders(graph.module)):
        value = examples[place]
        if value.dtype == torch.uint8:
            value = value.to(torch.int32)
        if not value.ndim:
            value = value.reshape(1)
            _squeeze(node)
        examples[place] = value
    # A hook of torch.export checks that inputs are the captured ones.
    graph.module._forward_pre_hooks.clear()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way
    graph.module.recompile()
    return replace(graph, example_inputs=tuple(examples))


def _squeeze(node: Node) -> None:
    """Lets all who read an input of one value read it as a single number."""
    import torch

    with node.graph.inserting_after(node):
        number = node.graph.call_function(torch.ops.aten.squeeze.dim, (node, 0))
    number.meta = dict(node.meta)
    node.replace_all_uses_with(number, delete_user_cb=lambda user: user is not number)
