"""Shapes and types of all values of an ONNX graph, found without copying its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

_MOST_VALUES: Final = 1024
"""Larger constants are weights: no shape follows from their values."""


def inferred_graph(model: onnx.ModelProto) -> onnx.GraphProto:
    """Returns the graph with the shapes and types that follow; large initializers have their own, and no values.

    onnx hands the whole model to its inference as bytes and takes it back as bytes: five copies of all weights.
    """
    import onnx

    light = onnx.ModelProto()
    weights = [tensor for tensor in model.graph.initializer if math.prod(tensor.dims) > _MOST_VALUES]
    if not weights:
        return onnx.shape_inference.infer_shapes(model).graph
    for field, value in model.ListFields():
        if field.name != "graph":
            copy_field(light, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            copy_field(light.graph, field.name, value)
    for tensor in model.graph.initializer:
        kept = light.graph.initializer.add()
        if math.prod(tensor.dims) <= _MOST_VALUES:
            kept.CopyFrom(tensor)
        else:
            kept.name, kept.data_type = tensor.name, tensor.data_type
            kept.dims.extend(tensor.dims)
            kept.data_location = onnx.TensorProto.EXTERNAL
            kept.external_data.add(key="location", value="omitted")
    return onnx.shape_inference.infer_shapes(light).graph


def copy_field(target: object, name: str, value: object) -> None:
    """Copies one field of a message: a number or text, several of something, or a message of its own."""
    if isinstance(value, str | int | float | bytes):
        setattr(target, name, value)
    elif isinstance(value, Iterable):
        getattr(target, name).extend(value)
    else:
        getattr(target, name).CopyFrom(value)
