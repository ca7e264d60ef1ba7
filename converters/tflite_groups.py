"""4-bit groups in TFLite files: which operators have them, and weights that lie on them before the quantizer comes.

ai-edge-quantizer takes each scale from the largest weight of a group. Weights that `quantization.grouped_weights` has
rounded lie on a grid that it finds again: so the file holds the numbers that other formats hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import constant, operators, text
from edgekit.quantization.grouped_weights import round_groups
from edgekit.recipe import Precision, Recipe


def group_of(graph: TFLiteGraph, operator: TFLiteOperator, kind: str, recipe: Recipe) -> int | None:
    """Returns how many columns of an operator's weights share a scale at 4 bits; None where these keep 8 bits.

    A group may not cross a row's end.
    """
    if kind not in ("EMBEDDING_LOOKUP", "FULLY_CONNECTED"):
        return None
    columns = int(graph.tensors[operator.inputs[1]].shape[-1])
    if kind == "EMBEDDING_LOOKUP":
        return recipe.table_group(columns)
    return None if columns % recipe.group_size else recipe.group_size


def round_in_groups(model: TFLiteModel, precisions: Mapping[str, Precision], recipe: Recipe) -> None:
    """Rounds the weights that get 4 bits, in place.

    Args:
        model: ModelT of the float model.
        precisions: Of each operator, by the name of its first output tensor.
        recipe: How large groups are.
    """
    import numpy as np

    done: set[int] = set()
    for graph, operator, kind in operators(model):
        if not len(operator.outputs) or precisions[text(graph.tensors[operator.outputs[0]].name)] != "int4_weights":
            continue
        group = group_of(graph, operator, kind, recipe)
        tensor = graph.tensors[operator.inputs[1]] if group is not None else None
        values = None if tensor is None else constant(model, tensor)
        if group is None or tensor is None or values is None or tensor.buffer in done:
            continue
        done.add(tensor.buffer)
        rounded = round_groups(values.reshape(-1, values.shape[-1]), group).values()
        model.buffers[tensor.buffer].data = np.frombuffer(rounded.tobytes(), dtype=np.uint8)
