"""Weights and biases of a TFLite graph's convolutions and linear layers, in the order of axes that arithmetic wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import add_constant, constant, text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def as_kernel(weights: NDArray[np.float32], kind: str) -> tuple[NDArray[np.float32], int]:
    """Returns (weights as (outputs, inputs / groups, ...), groups)."""
    if kind == "FULLY_CONNECTED":
        return weights, 1
    if kind == "CONV_2D":
        return weights.transpose(0, 3, 1, 2), 1
    # Depthwise kernels are (1, H, W, outputs). Only a multiplier of 1 passes the test of the channel count.
    return weights.transpose(3, 0, 1, 2), weights.shape[3]


def as_stored(kernel: NDArray[np.floating], kind: str) -> NDArray[np.floating]:
    """Returns what `as_kernel` was made from."""
    if kind == "FULLY_CONNECTED":
        return kernel
    return kernel.transpose(0, 2, 3, 1) if kind == "CONV_2D" else kernel.transpose(1, 2, 3, 0)


def bias_of(model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator) -> NDArray[np.float32] | None:
    """Returns an operator's constant bias, zeros where it has none, None where it is computed."""
    import numpy as np

    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        return constant(model, graph.tensors[operator.inputs[2]])
    return np.zeros(int(graph.tensors[operator.outputs[0]].shape[-1]), dtype=np.float32)


def set_input(
    model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator, position: int, values: NDArray[Any]
) -> None:
    """Gives an operator a constant of its own: the old one may be shared."""
    import numpy as np

    name = f"{text(graph.tensors[operator.outputs[0]].name)}/constant_{position}"
    inputs = [*map(int, operator.inputs), *[-1] * (position + 1 - len(operator.inputs))]
    inputs[position] = add_constant(model, graph, name, np.ascontiguousarray(values, dtype=np.float32))
    operator.inputs = inputs
