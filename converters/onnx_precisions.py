"""Which precision each node of a float ONNX graph gets."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from edgekit.analysis.operator_precisions import GraphOperator, operator_precisions
from edgekit.analysis.output_heads import HeadOperator
from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.recipe import OperatorKind, Precision, Recipe

if TYPE_CHECKING:
    import onnx

QUANTIZED_OPERATORS: Final = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators that get integer inputs and outputs.

Left out on purpose: Softmax and LayerNormalization, whose small outputs an 8-bit grid ruins, and everything for which
onnxruntime has no integer kernel.
"""

_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
_RECURRENT: Final = ("GRU", "LSTM", "RNN")
_COMBINES: Final = ("Add", "Concat", "Mul")


def node_precisions(graph: OnnxFloatGraph, recipe: Recipe) -> dict[str, Precision]:
    """Returns the precision of each node by its name."""
    constants = {tensor.name for tensor in graph.model.graph.initializer}
    outputs = [value.name for value in graph.model.graph.output]
    return operator_precisions(
        (
            GraphOperator(
                name=node.name,
                module=graph.modules.get(node.name, node.name),
                kind=_kind(node, constants),
                # A constant that is added or multiplied lies on no grid; the other inputs of the rest are settings.
                reads=tuple(node.input) if node.op_type in _COMBINES else tuple(node.input[:1]),
                writes=tuple(node.output),
            )
            for node in graph.model.graph.node
        ),
        recipe,
        described_nodes(graph.model.graph),
        outputs,
    )


def described_nodes(graph: onnx.GraphProto) -> list[HeadOperator]:
    """Returns the nodes as what heads and activations are found in."""
    return [
        HeadOperator(name=node.name, word=_word(node), reads=tuple(node.input), writes=tuple(node.output))
        for node in graph.node
    ]


def _word(node: onnx.NodeProto) -> str:
    """Returns the operator; `Ramp` for a hard sigmoid that is flat from elsewhere on than torch's, from -3 to 3."""
    if node.op_type != "HardSigmoid":
        return str(node.op_type)
    settings = {item.name: item.f for item in node.attribute}
    is_torchs = math.isclose(settings.get("alpha", 0.2), 1 / 6, rel_tol=1e-5) and settings.get("beta", 0.5) == 0.5
    return "HardSigmoid" if is_torchs else "Ramp"


def _kind(node: onnx.NodeProto, constants: Collection[str]) -> OperatorKind:
    if node.op_type in _CONVOLUTIONS:
        return "convolution"
    if node.op_type in _RECURRENT or (node.op_type == "Gather" and node.input[0] in constants):
        return "matrix"
    if node.op_type in ("Gemm", "MatMul"):
        return "matrix" if node.input[1] in constants else "other"
    return "follower" if node.op_type in QUANTIZED_OPERATORS else "other"
