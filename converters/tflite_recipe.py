"""From a precision recipe to ai-edge-quantizer's: one rule for the default and one for each operator that differs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteOperator
from edgekit.converters.tflite_file import operators, text
from edgekit.converters.tflite_groups import four_bit_groups
from edgekit.converters.tflite_precisions import WEIGHTED, tensor_precisions
from edgekit.converters.tflite_source import FloatModel
from edgekit.quantization.statistics import not_finite
from edgekit.recipe import Precision, Recipe

_NARROW: Final = 8  # as in onnx_weights: so many times more rows than columns
_SOFTMAX_FEEDERS: Final[tuple[str, ...]] = ("ADD", "SUB", "MUL", "DIV", "SELECT", "SELECT_V2")

_DIVISOR_FEEDERS: Final[tuple[str, ...]] = (
    "ABS", "ADD", "EXP", "MAXIMUM", "MEAN", "MUL", "POW", "RSQRT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUM",
)  # fmt: skip
"""What a norm's deviation is computed by: small values, of which integers may make 0."""


def quantizer_recipe(
    source: FloatModel,
    recipe: Recipe,
    *,
    float_io: bool,
    infinite: Collection[str] = (),
    evened: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Returns the recipe in ai-edge-quantizer's form. Later rules win there.

    Args:
        source: The float model.
        recipe: Precision of each part.
        float_io: Inputs and outputs stay float.
        infinite: See `kept_float`.
        evened: Results of operators that compute in float so that channels could be evened out.
    """
    from ai_edge_quantizer import recipe_manager
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    rules = recipe_manager.RecipeManager()
    # What is decided operator by operator has no rule for all of them.
    default: Precision = "fp32" if recipe.default == "int8_hybrid" else recipe.default
    _add_rules(rules, ".*", default, recipe)
    precisions = tensor_precisions(source, recipe)
    groups = four_bit_groups(source.model, precisions, recipe)
    kept = kept_float(source, precisions, infinite).union(evened)
    for graph, operator, kind in operators(source.model):
        names = [text(graph.tensors[i].name) for i in operator.outputs]
        if not names:
            continue
        module = source.modules.get(names[0], names[0])
        precision = "fp32" if names[0] in kept else precisions[names[0]]
        if module in source.recurrent:
            precision = _recurrent_precision(precision, kind, graph, operator)
        group = groups.get(names[0])
        if precision == "int4_weights" and group is None and kind in ("EMBEDDING_LOOKUP", "FULLY_CONNECTED"):
            precision = "int8_dynamic"  # as `predict.storage` has it
        pattern = "^" + re.escape(";".join(names) + ";") + "$"
        if precision != default:
            _add_rules(rules, pattern, precision, recipe)
        if group is not None and kind == "EMBEDDING_LOOKUP":
            # Behind the rules for all operators: tables have groups of their own size.
            blocks = getattr(QuantGranularity, f"BLOCKWISE_{group}")
            rules.add_dynamic_config(pattern, TFLOperationName.EMBEDDING_LOOKUP, 4, blocks)
    if float_io:
        for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            rules.add_quantization_config(".*", operation, algorithm_key="no_quantize")
    found: list[dict[str, Any]] = rules.get_quantization_recipe()
    return found


def kept_float(source: FloatModel, precisions: Mapping[str, Precision], infinite: Collection[str] = ()) -> set[str]:
    """Returns the first output tensors of operators that stay float whatever the default says.

    These are the softmaxes inside the model and what feeds them: attention masks and attention weights need more than
    256 values. A softmax at the model's end is a classifier's, which integers serve well. So are divisions by computed
    values, the norms of exporters that spell them out, and how their divisors are computed: LiteRT refuses to divide
    by an integer that means 0. And so is what reads or gives infinite values.

    Args:
        source: The float model.
        precisions: Of each operator, by the name of its first output tensor.
        infinite: Tensors that held infinite values on the calibration data, by name: masks.

    Raises:
        DataError: a weighted layer reads or gives infinite values; masks never reach those.
    """
    kept = _masking_operators(source, infinite)
    for graph in source.model.subgraphs:
        mine = [(operator, kind) for g, operator, kind in operators(source.model) if g is graph]
        producers = {int(i): (operator, kind) for operator, kind in mine for i in operator.outputs}
        final = {int(i) for i in graph.outputs}
        for operator, kind in mine:
            if kind == "DIV" and int(operator.inputs[1]) in producers:
                starts, feeders = [operator.inputs[1:]], _DIVISOR_FEEDERS
            elif kind == "SOFTMAX" and int(operator.outputs[0]) not in final:
                starts, feeders = [operator.inputs], _SOFTMAX_FEEDERS
            else:
                continue
            kept.add(text(graph.tensors[operator.outputs[0]].name))
            while starts:
                for i in starts.pop():
                    before = producers.get(int(i))
                    if before is not None and before[1] in feeders:
                        kept.add(text(graph.tensors[before[0].outputs[0]].name))
                        starts.append(before[0].inputs)
    return {name for name in kept if precisions[name] == "int8_static"}


def _masking_operators(source: FloatModel, infinite: Collection[str]) -> set[str]:
    """Returns the first output tensors of the operators that read or give infinite values."""
    found: set[str] = set()
    for graph, operator, kind in operators(source.model):
        tensors = [text(graph.tensors[i].name) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        names = [name for name in tensors if name in infinite]
        if names and kind in WEIGHTED:
            raise not_finite(names[0])
        found.update(text(graph.tensors[i].name) for i in operator.outputs[:1] if names)
    return found


def _recurrent_precision(precision: Precision, kind: str, graph: TFLiteGraph, operator: TFLiteOperator) -> Precision:
    """Returns the precision of an operator inside a recurrent layer.

    Its state passes through the same weights at each step, so activations that are rounded at run time lose most of the
    accuracy: weights only are integers. Weights of few inputs stay half floats: features of very different size share a
    row there, and they are small.
    """
    if precision not in ("int8_static", "int8_dynamic"):
        return precision
    if kind == "FULLY_CONNECTED":
        rows, columns = (int(n) for n in graph.tensors[operator.inputs[1]].shape)
        return "fp16" if columns * _NARROW < rows else "int8_weights"
    return "fp32" if precision == "int8_static" else precision


def _add_rules(rules: Any, pattern: str, precision: Precision, recipe: Recipe) -> None:
    """Adds the rules that give operators whose output names match `pattern` a precision."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    everything = TFLOperationName.ALL_SUPPORTED
    channels = QuantGranularity.CHANNELWISE if recipe.per_channel else QuantGranularity.TENSORWISE
    # Operators that a precision does not cover would fall through to the default's rule: float comes first. A rule with
    # the very same pattern would be replaced by the next, hence the empty group.
    rules.add_quantization_config(f"(?:){pattern}", everything, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if precision == "int8_static":
        _add_static(rules, pattern, recipe, channels)
        rules.add_dynamic_config(pattern, TFLOperationName.EMBEDDING_LOOKUP, 8, channels)  # a table needs no ranges
    elif precision == "int8_dynamic":
        rules.add_dynamic_config(pattern, everything, 8, channels)
    elif precision == "int8_weights":
        rules.add_weight_only_config(pattern, everything, 8, channels)
    elif precision == "fp16":
        rules.add_weight_only_config(pattern, everything, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif precision == "int4_weights":
        rules.add_dynamic_config(pattern, everything, 8, channels)
        blocks = getattr(QuantGranularity, f"BLOCKWISE_{recipe.group_size}")
        rules.add_dynamic_config(pattern, TFLOperationName.FULLY_CONNECTED, 4, blocks)


def _add_static(rules: Any, pattern: str, recipe: Recipe, channels: Any) -> None:
    from ai_edge_quantizer import qtyping

    rules.add_quantization_config(
        pattern,
        qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            activation_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=8, symmetric=recipe.symmetric_activations
            ),
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=channels),
            compute_precision=qtyping.ComputePrecision.INTEGER,
            explicit_dequantize=False,
        ),
    )
