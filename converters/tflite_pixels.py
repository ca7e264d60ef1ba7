"""TFLite files whose input is pixels (1, H, W, C) in 8 bits: the preprocessing becomes the file's first operators.

LiteRT's convolutions take channels last, so a model with channels first begins with a transpose of its input, maybe
behind a quantize. That transpose goes: the pixels come as the convolutions want them. Grids and weights stay as they
are.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import add_constant, add_tensor, new_operator, operators, text
from edgekit.model import TensorSpec
from edgekit.task.image_input import ImageInput

_TO_LAST: Final = (0, 2, 3, 1)
_TO_FIRST: Final = (0, 3, 1, 2)
_POINTWISE: Final = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
"""Operators in front of a transpose that work value by value: they do not mind the order of the axes."""


def take_pixels(model: TFLiteModel, image: ImageInput) -> tuple[TensorSpec, int]:
    """Lets the model (changed in place) take pixels in the place of the float input of the same name.

    Returns:
        The new input, and how many transposes lie behind it: 0, or 1 where an operator reads channels first.
    """
    graph = model.subgraphs[0]
    place = next(i for i, index in enumerate(graph.inputs) if text(graph.tensors[index].name) == image.spec.name)
    taken = int(graph.inputs[place])
    spec = image.pixel_spec()
    moved = image.spec.layout == "NCHW" and not _drop_transposes(model, taken)
    graph.tensors[taken].name = f"{spec.name}_float"
    pixels = _add_pixels(graph, spec)
    first = _steps(model, image, pixels, taken, moved=moved)
    graph.operators = [*first, *graph.operators]
    graph.inputs = [pixels if i == place else int(index) for i, index in enumerate(graph.inputs)]
    for signature in model.signatureDefs or ():
        for entry in signature.inputs:
            entry.tensorIndex = pixels if int(entry.tensorIndex) == taken else int(entry.tensorIndex)
    return spec, int(moved)


def _add_pixels(graph: TFLiteGraph, spec: TensorSpec) -> int:
    from ai_edge_litert import schema_py_generated as schema

    return add_tensor(graph, spec.name, spec.shape, schema.TensorType.UINT8, 0)


def _steps(model: TFLiteModel, image: ImageInput, pixels: int, taken: int, *, moved: bool) -> list[TFLiteOperator]:
    """Returns the operators that make the float input `taken` of the tensor `pixels`."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    graph, shape = model.subgraphs[0], image.pixel_spec().shape
    made: list[TFLiteOperator] = []
    last = pixels

    def add(kind: str, options: str, operand: Any = None, sizes: Any = shape, dtype: int = 0, **settings: Any) -> None:
        nonlocal last
        name = f"{image.spec.name}/{kind.lower()}"
        result = add_tensor(graph, name, sizes, dtype, 0)
        constant = [] if operand is None else [add_constant(model, graph, f"{name}/by", operand)]
        made.append(new_operator(model, kind, [last, *constant], result, options, **settings))
        last = result

    if image.turned:
        order = np.arange(image.channels, dtype=np.int32)[::-1].copy()
        add("GATHER", "GatherOptions", order, dtype=schema.TensorType.UINT8, axis=3)
    kinds = {"inDataType": schema.TensorType.UINT8, "outDataType": schema.TensorType.FLOAT32}
    add("CAST", "CastOptions", **kinds)
    if any(image.mean):
        add("SUB", "SubOptions", np.asarray(image.mean, np.float32))
    if any(value != 1 for value in image.std):
        add("DIV", "DivOptions", np.asarray(image.std, np.float32))
    if moved:
        add("TRANSPOSE", "TransposeOptions", np.asarray(_TO_FIRST, np.int32), image.spec.shape)
    made[-1].outputs = [taken]
    return made


def _drop_transposes(model: TFLiteModel, taken: int) -> bool:
    """Lets everything behind an input (1, C, H, W) read it as (1, H, W, C); returns False where something cannot."""
    graph = model.subgraphs[0]
    kinds = {id(operator): kind for _, operator, kind in operators(model)}
    if taken in {int(i) for i in graph.outputs}:
        return False
    moved, dropped = [taken], list[TFLiteOperator]()
    for index in moved:
        for operator in _readers(graph, index):
            kind = kinds[id(operator)]
            result = int(operator.outputs[0])
            if kind == "TRANSPOSE" and _permutation(model, operator) == _TO_LAST:
                dropped.append(operator)
            elif kind in _POINTWISE and result not in {int(i) for i in graph.outputs}:
                moved.append(result)
            else:
                return False
    for index in moved:
        tensor = graph.tensors[index]
        tensor.shape = [int(tensor.shape[axis]) for axis in _TO_LAST]
    for operator in dropped:
        _reroute(graph, int(operator.outputs[0]), int(operator.inputs[0]))
    graph.operators = [operator for operator in graph.operators if not any(operator is one for one in dropped)]
    return True


def _permutation(model: TFLiteModel, operator: TFLiteOperator) -> tuple[int, ...]:
    import numpy as np

    data = model.buffers[model.subgraphs[0].tensors[operator.inputs[1]].buffer].data
    return () if data is None else tuple(np.frombuffer(bytes(data), np.int32).tolist())


def _readers(graph: TFLiteGraph, index: int) -> Iterator[TFLiteOperator]:
    return (operator for operator in graph.operators if index in {int(i) for i in operator.inputs})


def _reroute(graph: TFLiteGraph, old: int, new: int) -> None:
    for operator in graph.operators:
        operator.inputs = [new if int(i) == old else int(i) for i in operator.inputs]
    graph.outputs = [new if int(i) == old else int(i) for i in graph.outputs]


def transposes(model: TFLiteModel) -> int:
    """Returns how many transposes the model has."""
    return sum(kind == "TRANSPOSE" for _, _, kind in operators(model))
