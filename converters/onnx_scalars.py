"""Numbers that are multiplied with or added to what a convolution gives, folded into its weights.

PP-LCNetV3 has a learned factor and a learned summand behind every convolution, and onnxruntime folds those of one value
for each channel only. Left in the graph, each is an operator over the whole tensor, with a grid of its own in static
INT8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    Readers = Mapping[str, list[onnx.NodeProto | None]]


def numbers_of(graph: onnx.GraphProto) -> dict[str, float]:
    """Returns the constants of one value, by name; without those of several axes, which could change a shape."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    stored |= {
        node.output[0]: item.t
        for node in graph.node
        for item in node.attribute
        if node.op_type == "Constant" and item.name == "value"
    }
    return {
        name: float(numpy_helper.to_array(tensor).reshape(()))
        for name, tensor in stored.items()
        if math.prod(tensor.dims) == 1 and len(tensor.dims) <= 1
    }


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto | None]]:
    """Returns the nodes that read each value; None for the graph itself, whose output it is."""
    readers: dict[str, list[onnx.NodeProto | None]] = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def only_reader(name: str, readers: Readers) -> onnx.NodeProto | None:
    """Returns the node that alone reads a value."""
    found = readers.get(name, [])
    return found[0] if len(found) == 1 else None


def number_in(node: onnx.NodeProto, numbers: Mapping[str, float]) -> float | None:
    """Returns the number of a product or a sum of a value and a number, None for any other node."""
    found = [numbers[name] for name in node.input if name in numbers]
    return found[0] if node.op_type in ("Mul", "Add") and len(found) == 1 else None


def fold_scalars(graph: onnx.GraphProto) -> None:
    """Folds products with and sums with one number behind convolutions into these; `graph` is changed in place."""
    numbers, readers = numbers_of(graph), readers_of(graph)
    weights = {tensor.name for tensor in graph.initializer}
    folded: set[str] = set()
    for layer in graph.node:
        # Transposed convolutions have their output channels along another axis, which one number does not care about.
        if layer.op_type not in ("Conv", "ConvTranspose") or not weights.issuperset(filter(None, layer.input[1:])):
            continue
        factor, summand = 1.0, 0.0
        while (node := only_reader(layer.output[0], readers)) and (number := number_in(node, numbers)) is not None:
            factor, summand = (
                (factor, summand + number) if node.op_type == "Add" else (factor * number, summand * number)
            )
            folded.add(layer.output[0])
            layer.output[0] = node.output[0]
        if (factor, summand) != (1.0, 0.0):
            _change(graph, layer, factor, summand)
    kept = [node for node in graph.node if folded.isdisjoint(node.input)]
    del graph.node[:]
    graph.node.extend(kept)


def _change(graph: onnx.GraphProto, layer: onnx.NodeProto, factor: float, summand: float) -> None:
    """Multiplies weights and bias by a factor and adds a summand to the bias."""
    import numpy as np
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = numpy_helper.to_array(tensors[layer.input[1]])
    groups = next((item.i for item in layer.attribute if item.name == "group"), 1)
    count = weights.shape[0] if layer.op_type == "Conv" else weights.shape[1] * groups
    has_bias = len(layer.input) > 2 and bool(layer.input[2])
    bias = numpy_helper.to_array(tensors[layer.input[2]]) if has_bias else np.zeros(count, weights.dtype)
    made = {"weights": weights * weights.dtype.type(factor), "bias": (bias * factor + summand).astype(weights.dtype)}
    del layer.input[1:]
    for part, values in made.items():
        # New tensors: the old ones may belong to another node too.
        graph.initializer.append(numpy_helper.from_array(values, f"{layer.output[0]}.scaled_{part}"))
        layer.input.append(f"{layer.output[0]}.scaled_{part}")
