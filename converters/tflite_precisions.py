"""Which precision each operator of a float TFLite model gets."""

from __future__ import annotations

from typing import Final

from edgekit.analysis.operator_precisions import GraphOperator, operator_precisions
from edgekit.analysis.output_heads import HeadOperator
from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import constant, operators, text
from edgekit.converters.tflite_source import FloatModel
from edgekit.recipe import OperatorKind, Precision, Recipe

WEIGHTED: Final = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "FULLY_CONNECTED",
    "EMBEDDING_LOOKUP",
    "BATCH_MATMUL",
)
"""Operators whose weights ai-edge-quantizer can store as integers."""

_CONVOLUTIONS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_COMBINES: Final = ("ADD", "CONCATENATION", "MUL")
_FOLLOWERS: Final = (
    *_COMBINES,
    "AVERAGE_POOL_2D",
    "EXPAND_DIMS",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MEAN",
    "PAD",
    "RELU",
    "RELU6",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SPLIT",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TANH",
    "TRANSPOSE",
)
"""Operators that compute in integers behind convolutions. Left out on purpose: SUB, by which norms that are spelled out
begin, and whatever else these consist of."""


def tensor_precisions(source: FloatModel, recipe: Recipe) -> dict[str, Precision]:
    """Returns the precision of each operator by the name of its first output tensor."""
    listed: list[GraphOperator] = []
    for graph, operator, kind in operators(source.model):
        results = tuple(text(graph.tensors[i].name) for i in operator.outputs)
        if results:
            listed.append(
                GraphOperator(
                    name=results[0],
                    module=source.modules.get(results[0], results[0]),
                    kind=_kind(source.model, graph, operator, kind),
                    reads=_reads(graph, operator, kind),
                    writes=results,
                )
            )
    return operator_precisions(listed, recipe, described_operators(source.model), output_names(source.model))


def described_operators(model: TFLiteModel) -> list[HeadOperator]:
    """Returns the operators as what heads and activations are found in, by the name of the first output tensor."""
    described: list[HeadOperator] = []
    for graph, operator, kind in operators(model):
        results = tuple(text(graph.tensors[i].name) for i in operator.outputs)
        if results:
            read = tuple(text(graph.tensors[i].name) for i in operator.inputs if i >= 0)
            described.append(HeadOperator(name=results[0], word=kind, reads=read, writes=results))
    return described


def output_names(model: TFLiteModel) -> list[str]:
    """Returns the names of the main graph's output tensors, in order."""
    main = model.subgraphs[0]
    return [text(main.tensors[i].name) for i in main.outputs]


def _kind(model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator, kind: str) -> OperatorKind:
    if kind in _CONVOLUTIONS:
        return "convolution"
    if kind in ("BATCH_MATMUL", "FULLY_CONNECTED"):
        # A product of two activations can become either.
        return "other" if constant(model, graph.tensors[operator.inputs[1]]) is None else "matrix"
    if kind in WEIGHTED:
        return "matrix"
    return "follower" if kind in _FOLLOWERS else "other"


def _reads(graph: TFLiteGraph, operator: TFLiteOperator, kind: str) -> tuple[str, ...]:
    """Returns what an operator computes from: a constant that is added or multiplied too, but no axes or sizes."""
    inputs = [int(i) for i in operator.inputs if i >= 0]
    # The axis of a SPLIT comes first.
    read = inputs if kind in _COMBINES else inputs[-1:] if kind == "SPLIT" else inputs[:1]
    return tuple(text(graph.tensors[i].name) for i in read)
