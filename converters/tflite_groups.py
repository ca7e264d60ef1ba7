"""4-bit groups in TFLite files: which operators have them, and weights that lie on them before the quantizer comes.

ai-edge-quantizer takes each scale from the largest weight of a group. Weights that `quantization.grouped_weights` has
rounded lie on a grid that it finds again: so the file holds the numbers that other formats hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from edgekit.analysis.tflite_protocols import TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import add_constant, constant, operators, text
from edgekit.quantization.grouped_weights import round_groups
from edgekit.recipe import Precision, Recipe


def four_bit_groups(model: TFLiteModel, precisions: Mapping[str, Precision], recipe: Recipe) -> dict[str, int]:
    """Returns how many columns share a scale, by the first output tensor of each operator whose weights get 4 bits.

    A group may not cross a row's end. A table that scores words too has the groups of the layer that does: one tensor
    serves both then.

    Args:
        model: ModelT of the float model.
        precisions: Of each operator, by the name of its first output tensor.
        recipe: How large groups are.
    """
    found: dict[str, int] = {}
    scoring: set[int] = set()
    narrow = [
        (graph, operator, kind)
        for graph, operator, kind in operators(model)
        if len(operator.outputs) and precisions[text(graph.tensors[operator.outputs[0]].name)] == "int4_weights"
    ]
    for graph, operator, kind in narrow:
        weights = graph.tensors[operator.inputs[1]] if kind == "FULLY_CONNECTED" else None
        if weights is not None and int(weights.shape[-1]) % recipe.group_size == 0:
            found[text(graph.tensors[operator.outputs[0]].name)] = recipe.group_size
            scoring.add(weights.buffer)
    for graph, operator, kind in narrow:
        if kind != "EMBEDDING_LOOKUP":
            continue
        table = graph.tensors[operator.inputs[1]]
        group = recipe.group_size if table.buffer in scoring else recipe.table_group(int(table.shape[-1]))
        if group is not None:
            found[text(graph.tensors[operator.outputs[0]].name)] = group
    return found


def round_in_groups(model: TFLiteModel, groups: Mapping[str, int]) -> None:
    """Rounds the weights that get 4 bits, in place.

    What other operators read too, in another precision, gets a tensor of its own first: ai-edge-quantizer (0.10) fails
    where it has to copy a tensor for groups.

    Args:
        model: ModelT of the float model.
        groups: As `four_bit_groups` returns them.
    """
    import numpy as np

    readers = _readers(model, groups)
    done: dict[int, int] = {}
    for graph, operator, _ in operators(model):
        group = groups.get(text(graph.tensors[operator.outputs[0]].name)) if len(operator.outputs) else None
        if group is None:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        values, buffer = constant(model, tensor), tensor.buffer
        if buffer in done:
            if readers[buffer] != {group}:
                operator.inputs = _with_weights(operator, done[buffer])
            continue
        if values is None:
            continue
        rounded = round_groups(values.reshape(-1, values.shape[-1]), group).values().reshape(values.shape)
        if readers[buffer] == {group}:
            model.buffers[buffer].data = np.frombuffer(rounded.tobytes(), dtype=np.uint8)
            done[buffer] = int(operator.inputs[1])
        else:
            done[buffer] = add_constant(model, graph, f"{text(tensor.name)}_4_bits", rounded)
            operator.inputs = _with_weights(operator, done[buffer])


def _with_weights(operator: TFLiteOperator, index: int) -> list[int]:
    """Returns the inputs of an operator that reads its weights at another index."""
    first, _, *rest = map(int, operator.inputs)
    return [first, index, *rest]


def _readers(model: TFLiteModel, groups: Mapping[str, int]) -> dict[int, set[int | None]]:
    """Returns the groups that the readers of each buffer want, None for those that want none."""
    found: dict[int, set[int | None]] = defaultdict(set)
    for graph, operator, _ in operators(model):
        name = text(graph.tensors[operator.outputs[0]].name) if len(operator.outputs) else ""
        for i in operator.inputs:
            if i >= 0:
                found[graph.tensors[i].buffer].add(groups.get(name))
    return found
