"""Static INT8 for ONNX: calibrated ranges and quantize-dequantize pairs, by onnxruntime's quantizer.

Weights are int8 with a scale per output channel, activations uint8 ("U8S8"): the one combination that onnxruntime's
processor kernels run in integers for every convolution. With `symmetric_activations` activations are int8 with zero
point 0, as TensorRT asks for. Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.converters.onnx_even_channels import EvenedOut, Passage, even_out, far_apart, find_passages
from edgekit.converters.onnx_precisions import QUANTIZED_OPERATORS, described_nodes, node_precisions
from edgekit.converters.onnx_shapes import inferred_graph
from edgekit.converters.onnx_source import OnnxFloatGraph
from edgekit.model import LearnedRange
from edgekit.quantization.bias_correction import ChannelMeans, mean_shift, round_weights
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.ranges import Range, choose_range
from edgekit.quantization.statistics import ModelStatistics, not_finite
from edgekit.recipe import Recipe
from edgekit.samples import Samples
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_GEMM: Final[Mapping[str, float]] = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
_CLAMPS: Final = ("Relu", "Clip")
_WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxCalibration:
    """What running the float model on the calibration samples showed.

    Attributes:
        statistics: Statistics of every float activation, by value name.
        input_means: Mean of each input channel of every weighted operator, by the name of the value that it reads.
        extremes: Extremes of each channel of the values for which they were requested.
    """

    statistics: ModelStatistics
    input_means: Mapping[str, ChannelMeans]
    extremes: Mapping[str, ChannelExtremes]


def quantize_static(
    graph: OnnxFloatGraph,
    recipe: Recipe,
    samples: Path,
    progress: Progress,
    *,
    float_outputs: bool = True,
    learned: Sequence[LearnedRange] = (),
) -> onnx.ModelProto:
    """Returns a quantized onnx.ModelProto; `graph` is left alone.

    Args:
        graph: The float model.
        recipe: Nodes whose precision is not int8_static stay as they are.
        samples: Calibration sample folder.
        progress: Callback that gets how far it is.
        float_outputs: Linear layers at the end may write float directly.
        learned: Ranges that training has found.

    Raises:
        DataError: the float model gives NaN on the calibration data, or infinite values to or by a weighted layer.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    excluded = _excluded_nodes(graph, recipe)
    passages = _passages(model.graph, recipe, excluded)
    calibration = calibrate(model, samples, progress, [name for item in passages for name in item.scaled])
    excluded |= _masking_nodes(model.graph, calibration.statistics.infinite)
    progress("quantizing", None)
    ranges = _ranges(model, calibration.statistics, recipe, learned)
    apart = far_apart(passages, calibration.extremes, ranges)
    evened = even_out(model, apart, calibration.extremes, ranges)
    # Behind the scaling, which changes how weights are rounded.
    correct_biases(model, _means(calibration, evened), excluded, per_channel=recipe.per_channel)
    quantized = _insert_pairs(model, {**ranges, **evened.ranges}, recipe, excluded | evened.kept)
    if recipe.symmetric_activations:
        _drop_pairs_before_clamps(quantized.graph)
    if float_outputs:
        _leave_matrix_outputs_float(quantized.graph)
    return quantized


def _means(calibration: OnnxCalibration, evened: EvenedOut) -> dict[str, NDArray[np.float64]]:
    """Returns the mean of each channel of what weighted operators read, those that were evened out among them."""
    means = {name: found.mean() for name, found in calibration.input_means.items()}
    scaled = {name: means[source] / evened.factors[name] for name, source in evened.sources.items()}
    return {**means, **scaled}


def _passages(graph: onnx.GraphProto, recipe: Recipe, excluded: Collection[str]) -> tuple[Passage, ...]:
    """Returns the activations around which channels may have grids of their own; none where the recipe forbids that.

    TensorRT, for which activations are symmetric, takes one scale for an activation, whoever reads it.
    """
    if recipe.symmetric_activations or not recipe.per_channel:
        return ()
    return find_passages(graph, [node.name for node, _, _ in _weighted_nodes(graph) if node.name not in excluded])


def calibrate(
    model: onnx.ModelProto, folder: Path, progress: Progress, channels: Collection[str] = ()
) -> OnnxCalibration:
    """Runs a float model sample by sample in onnxruntime and returns what its activations look like.

    Only one sample's activations are held at a time. Graph optimizations are off, so every value is the graph's own.

    Args:
        model: The float model.
        folder: Calibration sample folder.
        progress: Callback that gets how far it is.
        channels: Values whose channels' extremes are wanted; axis 1 is theirs.

    Raises:
        DataError: a value is NaN.
    """
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = float_activations(model)
    inputs = [value.name for value in watched.graph.input]
    known = {*inputs, *(value.name for value in watched.graph.output)}
    # An output without a type: onnxruntime infers it.
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fetched = [name for name in names if name not in inputs]
    statistics = ModelStatistics()
    means = {node.input[0]: ChannelMeans(axis=1) for node, _, _ in _weighted_nodes(model.graph)}
    extremes = {name: ChannelExtremes(axis=1) for name in channels}
    samples = Samples.open(folder)
    for i, row in enumerate(samples.rows()):
        progress("calibrating", i / samples.count)
        feed = dict(zip(inputs, row, strict=True))
        values: dict[str, Any] = {**feed, **dict(zip(fetched, session.run(fetched, feed), strict=True))}
        for name in names:
            statistics.update(name, values[name])
        for name, mean in means.items():
            mean.update(values[name])
        for name, found in extremes.items():
            found.update(values[name])
    return OnnxCalibration(statistics=statistics, input_means=means, extremes=extremes)


def correct_biases(
    model: onnx.ModelProto,
    input_means: Mapping[str, NDArray[np.float64]],
    excluded: Collection[str],
    *,
    per_channel: bool,
) -> None:
    """Subtracts from each bias what rounding the weights adds to its output on average (see `bias_correction`).

    Args:
        model: The float model, changed in place.
        input_means: Mean of each channel of what weighted operators read, (channels,), by value name.
        excluded: Names of the nodes that stay float.
        per_channel: Weights have a scale for each output.
    """
    import numpy as np
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node, groups, transposed in _weighted_nodes(model.graph):
        if node.name in excluded:
            continue
        stored = numpy_helper.to_array(tensors[node.input[1]])
        weights = stored.T if transposed else stored
        error = round_weights(weights, 0 if per_channel else None) - weights
        shift = mean_shift(error, input_means[node.input[0]], groups)
        # Gemm takes a bias that spreads over its output, (1, N) or one number; integer kernels take (N,).
        old = numpy_helper.to_array(tensors[node.input[2]]).reshape(-1) if node.input[2:] and node.input[2] else 0.0
        # A new tensor: the old one may belong to another node too.
        name = f"{node.name}.corrected_bias"
        model.graph.initializer.append(numpy_helper.from_array((old - shift).astype(np.float32), name))
        del node.input[2:]
        node.input.append(name)
    drop_unread_weights(model.graph)


def _weighted_nodes(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, int, bool]]:
    """Returns (node, groups, weights are transposed) of the convolutions and linear layers with constant weights.

    Weights have the shape (outputs, inputs / groups, ...), or (inputs, outputs) where they are transposed.
    """
    import onnx

    float_weights = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    found: list[tuple[onnx.NodeProto, int, bool]] = []
    for node in graph.node:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        constant = len(node.input) > 1 and all(not name or name in float_weights for name in node.input[1:])
        if constant and node.op_type == "Conv":
            found.append((node, settings.get("group", 1), False))
        elif constant and node.op_type == "Gemm" and {**_GEMM, **settings, "transB": 0} == _GEMM:
            found.append((node, 1, not settings.get("transB", 0)))
    return found


def drop_unread_weights(graph: onnx.GraphProto) -> None:
    """Removes the weights that no node reads."""
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    unread = [tensor for tensor in graph.initializer if tensor.name not in read]
    for tensor in unread:
        graph.initializer.remove(tensor)


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Returns the names of all float32 values that are computed or fed, weights excluded, in graph order."""
    import onnx

    inferred = inferred_graph(model)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    weights = {tensor.name for tensor in inferred.initializer}
    names = [value.name for value in inferred.input] + [name for node in inferred.node for name in node.output]
    return [name for name in names if name not in weights and types.get(name) == onnx.TensorProto.FLOAT]


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto | None]]:
    """Returns the nodes that read each value; an output of the graph counts as read by `None`."""
    readers: dict[str, list[onnx.NodeProto | None]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for value in graph.output:
        readers.setdefault(value.name, []).append(None)
    return readers


def _excluded_nodes(graph: OnnxFloatGraph, recipe: Recipe) -> set[str]:
    """Returns the nodes that stay float: by an override, and what feeds a softmax: masks have huge ranges."""
    excluded = {name for name, precision in node_precisions(graph, recipe).items() if precision != "int8_static"}
    producers = {name: node for node in graph.model.graph.node for name in node.output}
    for node in graph.model.graph.node:
        if node.op_type == "Softmax":
            pending = [node.input[0]]
            while pending:
                before = producers.get(pending.pop())
                if before is not None and before.op_type in ("Add", "Mul", "Div", "Sub", "Where"):
                    excluded.add(before.name)
                    pending.extend(before.input)
    return excluded


def _masking_nodes(graph: onnx.GraphProto, infinite: Collection[str]) -> set[str]:
    """Returns the nodes that read or give infinite values, which no grid holds: masks before a softmax.

    Raises:
        DataError: one of them is a weighted layer; masks never reach those.
    """
    found: set[str] = set()
    for node in graph.node:
        names = [name for name in (*node.input, *node.output) if name in infinite]
        if names and node.op_type in _WEIGHTED:
            raise not_finite(names[0])
        found.update([node.name] if names else [])
    return found


def _ranges(
    model: onnx.ModelProto, statistics: ModelStatistics, recipe: Recipe, learned: Sequence[LearnedRange]
) -> dict[str, Range]:
    inputs = {value.name for value in model.graph.input}
    outputs = [value.name for value in model.graph.output]
    activations = activation_inputs(described_nodes(model.graph), outputs)
    ranges = {
        name: choose_range(
            tensor,
            recipe.ranges,
            symmetric=recipe.symmetric_activations,
            learned=learned,
            activation=activations.get(name),
            fed=name in inputs,
        )
        for name, tensor in statistics.tensors.items()
    }
    readers = consumers(model.graph)
    for node in model.graph.node:
        # What a clamp cuts off needs no integers: the range that counts is the one after it.
        if node.op_type in _CLAMPS and len(readers[node.input[0]]) == 1 and node.output[0] in ranges:
            ranges[node.input[0]] = ranges[node.output[0]]
    return ranges


def _insert_pairs(
    model: onnx.ModelProto, ranges: Mapping[str, Range], recipe: Recipe, excluded: Collection[str]
) -> onnx.ModelProto:
    """Returns the model with quantize-dequantize pairs, made by onnxruntime's quantizer from our ranges."""
    import numpy as np
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data: dict[str, Any] = {
        name: TensorData(lowest=np.float32(found.low), highest=np.float32(found.high)) for name, found in ranges.items()
    }
    quantizer = QDQQuantizer(
        model,
        recipe.per_channel,
        False,  # no reduced weight range: the kernels of current processors do not saturate
        QuantType.QInt8,
        QuantType.QInt8 if recipe.symmetric_activations else QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, data),
        [],
        sorted(excluded),
        list(QUANTIZED_OPERATORS),
        {
            "WeightSymmetric": True,
            "ActivationSymmetric": recipe.symmetric_activations,
            # TensorRT wants a pair for each reader.
            "DedicatedQDQPair": recipe.symmetric_activations,
        },
    )
    quantizer.quantize_model()
    return quantizer.model.model


def _drop_pairs_before_clamps(graph: onnx.GraphProto) -> None:
    """Removes a pair between a convolution and its clamp: TensorRT fuses the two and quantizes after the clamp."""
    producers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        if node.op_type not in _CLAMPS:
            continue
        dequantize = producers.get(node.input[0])
        quantize = producers.get(dequantize.input[0]) if dequantize is not None else None
        if dequantize is None or quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        before = producers.get(quantize.input[0])
        readers = consumers(graph)
        if (
            before is not None
            and before.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")
            and readers[quantize.input[0]] == [quantize]
            and readers[quantize.output[0]] == [dequantize]
            and readers[dequantize.output[0]] == [node]
        ):
            node.input[0] = quantize.input[0]
            graph.node.remove(quantize)
            graph.node.remove(dequantize)


def _leave_matrix_outputs_float(graph: onnx.GraphProto) -> None:
    """Removes the pair between a linear layer and the model's output.

    onnxruntime's integer matrix product can write float, so the pair would only round the result to 256 values.
    """
    for output in graph.output:
        producers = {name: node for node in graph.node for name in node.output}
        dequantize = producers.get(output.name)
        quantize = producers.get(dequantize.input[0]) if dequantize is not None else None
        if dequantize is None or quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        product = producers.get(quantize.input[0])
        if product is not None and product.op_type == "Gemm" and len(consumers(graph)[product.output[0]]) == 1:
            product.output[0] = output.name
            graph.node.remove(quantize)
            graph.node.remove(dequantize)
