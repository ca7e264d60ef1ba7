"""Half precision for ONNX: float16 weights and arithmetic, float32 inputs and outputs.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.converters.onnx_static import calibrate
from edgekit.recipe import Recipe
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import onnx

LARGEST_HALF: Final = 65504.0
"""Largest finite float16."""

_MARGIN: Final = 2.0  # other data than the calibration samples reaches further


def to_half(
    graph: OnnxFloatGraph, recipe: Recipe, calibration: Path | None, notes: list[str], progress: Progress
) -> onnx.ModelProto:
    """Returns the model in float16.

    Nodes stay float32 where the recipe says so, and where a value comes within a factor of 2 of the largest float16 on
    the calibration samples; `notes` names these.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [n.name for n in graph.model.graph.node if recipe.word_of(graph.modules[n.name]) != "fp16"]
    if calibration is None:
        notes.append("Without calibration data no value was checked against float16's largest, 65504.")
    else:
        overflowing = _overflowing_nodes(graph, calibration, progress)
        if overflowing:
            notes.append(f"Kept in float32, as their values would leave float16: {', '.join(overflowing)}.")
        kept += [name for name in overflowing if name not in kept]
    progress("converting to float16", None)
    model = convert_float_to_float16(graph.model, keep_io_types=True, node_block_list=kept)
    _join_float_nodes(model.graph)
    return model


def _join_float_nodes(graph: onnx.GraphProto) -> None:
    """Takes out the way through float16 between two float32 nodes.

    The converter casts what each float32 node writes to float16, and back for the next: the very values overflow there
    for which the two were kept.
    """
    import onnx

    producers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        to_half = producers.get(node.input[0]) if node.op_type == "Cast" else None
        if to_half is None or to_half.op_type != "Cast" or _target(node) != onnx.TensorProto.FLOAT:
            continue
        inserted = to_half.name.startswith("graph_input_cast") or to_half.name.endswith("_cast_to_fp16_node")
        if inserted and _target(to_half) == onnx.TensorProto.FLOAT16:
            for reader in graph.node:
                for i, name in enumerate(reader.input):
                    if name == node.output[0]:
                        reader.input[i] = to_half.input[0]
    # From the end: a cast may have been the only reader of the one before.
    for node in reversed(list(graph.node)):
        read = {name for other in graph.node for name in other.input} | {value.name for value in graph.output}
        if node.op_type == "Cast" and node.output[0] not in read:
            graph.node.remove(node)


def _target(cast: onnx.NodeProto) -> int:
    return int(next(attribute.i for attribute in cast.attribute if attribute.name == "to"))


def _overflowing_nodes(graph: OnnxFloatGraph, calibration: Path, progress: Progress) -> list[str]:
    """Returns the nodes that read or write a value too large for float16."""
    statistics = calibrate(graph.model, calibration, progress).statistics.tensors
    large = {
        name for name, tensor in statistics.items() if max(-tensor.minimum, tensor.maximum) * _MARGIN > LARGEST_HALF
    }
    return [node.name for node in graph.model.graph.node if large.intersection((*node.input, *node.output))]
