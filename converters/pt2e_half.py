"""A float graph in 16-bit floats, with 32-bit inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.quantization.pt2e_graph import (
    FloatGraph,
    is_float_tensor,
    output_node,
    placeholders,
    results_of,
    return_these,
)
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule


def to_half(graph: FloatGraph) -> FloatGraph:
    """Returns the graph (changed in place) with weights and arithmetic in float16; inputs and outputs stay float32.

    Explicit casts to float32 inside become casts to float16: otherwise a 32-bit tensor would meet 16-bit weights.
    """
    import torch

    module = graph.module
    inputs = placeholders(module)
    floats = [node for node in inputs if is_float_tensor(node)]
    was_float = [is_float_tensor(item) for item in results_of(module)]
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype == torch.float32:
            tensor.data = tensor.data.to(torch.float16)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            _halve_attribute(module, str(node.target))
        elif node.op == "call_function":
            node.args = _halved(node.args)
            node.kwargs = {key: _halved(value) for key, value in node.kwargs.items()}
    after_inputs = inputs[-1].next
    for node in floats:
        with after_inputs.graph.inserting_before(after_inputs):
            cast = after_inputs.graph.call_function(torch.ops.aten.to.dtype, (node, torch.float16))
        node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)
    output = output_node(module)
    new: list[Node] = []
    for item, floating in zip(results_of(module), was_float, strict=True):
        if floating:
            with output.graph.inserting_before(output):
                new.append(output.graph.call_function(torch.ops.aten.to.dtype, (item, torch.float32)))
        else:
            new.append(item)
    return_these(module, new)
    module.recompile()
    return FloatGraph(module=module, example_inputs=graph.example_inputs, open_sizes=graph.open_sizes)


def _halved(value: Any) -> Any:
    import torch

    if value is torch.float32:
        return torch.float16
    if isinstance(value, list | tuple):
        return type(value)(_halved(item) for item in value)
    return value


def _halve_attribute(module: GraphModule, name: str) -> None:
    """Constants that are neither parameters nor buffers."""
    import torch

    owner: Any = module
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    value = getattr(owner, last)
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        setattr(owner, last, value.to(torch.float16))
