"""Integer inputs and outputs of a graph with quantization written into it."""

from __future__ import annotations

from dataclasses import replace

from edgekit.quantization.pt2e_graph import results_of, return_these, shape_of, target_of
from edgekit.quantization.pt2e_quantization import QuantizedGraph
from edgekit.quantization.ranges import Grid


def quantize_io(graph: QuantizedGraph) -> tuple[QuantizedGraph, dict[int, Grid], dict[int, Grid]]:
    """Returns the graph with int8 inputs and outputs, and the grids of both by position.

    Only inputs that are read through a grid and outputs that are written through one change; the others stay.
    """
    import torch

    nodes = list(graph.module.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    examples = list(graph.example_inputs)
    input_grids: dict[int, Grid] = {}
    for position, node in enumerate(inputs):
        users = list(node.users)
        if len(users) != 1 or "quantize_per_tensor" not in target_of(users[0]):
            continue
        input_grids[position] = graph.grids[node.name]
        users[0].replace_all_uses_with(node)
        graph.module.graph.erase_node(users[0])
        examples[position] = torch.zeros(shape_of(node), dtype=torch.int8)
        node.meta.pop("val", None)
    output_grids: dict[int, Grid] = {}
    results = results_of(graph.module)
    for position, result in enumerate(results):
        if "dequantize_per_tensor" in target_of(result):
            results[position] = result.args[0]
            output_grids[position] = Grid(scale=result.args[1], zero_point=result.args[2])
    return_these(graph.module, results)
    graph.module.graph.eliminate_dead_code()
    graph.module.recompile()
    return replace(graph, example_inputs=tuple(examples)), input_grids, output_grids
