"""Static INT8 for TFLite: calibrated ranges and corrected biases, quantized by ai-edge-quantizer.

Weights are int8 with a scale per output channel, activations int8. Only ever runs inside a conversion worker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.analysis.tflite_protocols import TFLiteModel
from edgekit.converters.tflite_file import constant, drop_unused_tensors, operators, text
from edgekit.converters.tflite_precisions import described_operators, output_names
from edgekit.converters.tflite_weights import as_kernel, as_stored, bias_of, set_input
from edgekit.model import LearnedRange
from edgekit.quantization.bias_correction import ChannelMeans, mean_shift, round_weights
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.ranges import Range, affine_grid, choose_range
from edgekit.quantization.statistics import ModelStatistics
from edgekit.recipe import RangeMethod
from edgekit.samples import Samples
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WEIGHTED: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteCalibration:
    """What running the float model on the calibration samples showed.

    Attributes:
        statistics: Statistics of every float activation, by tensor name.
        input_means: Mean of each channel (the last axis) of what weighted operators read, (channels,), by tensor name.
        extremes: Extremes of each channel of the tensors for which they were requested.
    """

    statistics: ModelStatistics
    input_means: Mapping[str, NDArray[np.float64]]
    extremes: Mapping[str, ChannelExtremes]


def calibrate(content: bytes, folder: Path, progress: Progress, channels: Collection[str] = ()) -> TFLiteCalibration:
    """Runs a float TFLite model sample by sample and returns what its activations look like.

    Args:
        content: The flatbuffer, its inputs in the samples' order.
        folder: Calibration sample folder.
        progress: Callback that gets how far it is.
        channels: Tensors whose channels' extremes are wanted; the last axis is theirs.

    Raises:
        DataError: a value is NaN.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        # A delegate would hide the tensors inside of it.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    inputs = interpreter.get_input_details()
    operators = interpreter._get_ops_details()  # noqa: SLF001  the interpreter's only list of operators
    computed = {int(i) for operator in operators for i in operator["outputs"]} | {d["index"] for d in inputs}
    watched = [i for i in sorted(computed) if details[i]["dtype"] == np.float32]
    read = {int(o["inputs"][0]) for o in operators if o["op_name"] in _WEIGHTED}
    means = {details[i]["name"]: ChannelMeans(axis=-1) for i in sorted(read)}
    extremes = {name: ChannelExtremes(axis=-1) for name in channels}
    statistics = ModelStatistics()
    samples = Samples.open(folder)
    for i, row in enumerate(samples.rows()):
        progress("calibrating", i / samples.count)
        if any(tuple(detail["shape"]) != array.shape for detail, array in zip(inputs, row, strict=True)):
            for detail, array in zip(inputs, row, strict=True):
                interpreter.resize_tensor_input(detail["index"], array.shape)
                detail["shape"] = array.shape
            interpreter.allocate_tensors()
        for detail, array in zip(inputs, row, strict=True):
            interpreter.set_tensor(detail["index"], array.astype(detail["dtype"], copy=False))
        interpreter.invoke()
        for index in watched:
            name = details[index]["name"]
            values = interpreter.get_tensor(index)
            statistics.update(name, values)
            if name in means:
                means[name].update(values)
            if name in extremes:
                extremes[name].update(values)
    found = {name: mean.mean() for name, mean in means.items()}
    return TFLiteCalibration(statistics=statistics, input_means=found, extremes=extremes)


def choose_ranges(
    model: TFLiteModel, statistics: ModelStatistics, method: RangeMethod, learned: Sequence[LearnedRange] = ()
) -> dict[str, Range]:
    """Returns the range of each float activation, by tensor name.

    Args:
        model: ModelT, for which activation reads a tensor.
        statistics: Statistics of the activations, by tensor name.
        method: How ranges are chosen.
        learned: Ranges that training has found.
    """
    main = model.subgraphs[0]
    inputs = {text(main.tensors[i].name) for i in main.inputs}
    activations = activation_inputs(described_operators(model), output_names(model))
    return {
        name: choose_range(tensor, method, learned=learned, activation=activations.get(name), fed=name in inputs)
        for name, tensor in statistics.tensors.items()
    }


def calibration_result(ranges: Mapping[str, Range]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Returns the ranges in the form in which ai-edge-quantizer takes them: tensor name to "min" and "max"."""
    import numpy as np

    return {
        name: {
            "min": np.array(found.low, dtype=np.float32),
            "max": np.array(found.high, dtype=np.float32),
        }
        for name, found in ranges.items()
    }


def correct_biases(
    model: TFLiteModel, input_means: Mapping[str, NDArray[np.float64]], excluded: Collection[str]
) -> None:
    """Subtracts from each bias what rounding the weights adds to its output on average (see `bias_correction`).

    Args:
        model: ModelT, changed in place.
        input_means: Mean of each channel of what weighted operators read, (channels,), by tensor name.
        excluded: Names of the output tensors of operators that stay float.
    """
    for graph, operator, kind in operators(model):
        if kind not in _WEIGHTED or text(graph.tensors[operator.outputs[0]].name) in excluded:
            continue
        name = text(graph.tensors[operator.inputs[0]].name)
        weights = constant(model, graph.tensors[operator.inputs[1]])
        bias = bias_of(model, graph, operator)
        if weights is None or bias is None or name not in input_means:
            continue
        means = input_means[name]
        kernel, groups = as_kernel(weights, kind)
        if kernel.shape[1] * groups != means.size:
            continue  # grouped channels, or a depth multiplier: which input a weight reads is not known here
        shift = mean_shift(round_weights(kernel, 0) - kernel, means, groups)
        set_input(model, graph, operator, 2, bias - shift)
    drop_unused_tensors(model)


def lift_weak_channels(model: TFLiteModel, ranges: Mapping[str, Range]) -> None:
    """Widens the weights of channels that are nearly dead, so that their bias fits into 32 bits.

    A bias is stored as bias / (input scale * weight scale). Where all weights of a channel are tiny or zero, that
    leaves the int32 range and the bias is lost. The largest weight of such a channel is raised until the stored bias is
    2^30 at most, which changes the channel's output by less than 1e-4 of its bias.

    Args:
        model: ModelT, changed in place.
        ranges: Ranges of the activations, by tensor name.
    """
    import numpy as np

    for graph, operator, kind in operators(model):
        if kind not in _WEIGHTED:
            continue
        found = ranges.get(text(graph.tensors[operator.inputs[0]].name))
        weights = constant(model, graph.tensors[operator.inputs[1]])
        bias = bias_of(model, graph, operator)
        if found is None or weights is None or bias is None:
            continue
        scale = affine_grid(found, -128, 127).scale
        needed = 127 * np.abs(bias) / (scale * 2.0**30)
        kernel, _ = as_kernel(weights, kind)
        flat = kernel.reshape(kernel.shape[0], -1).copy()
        largest = np.abs(flat).argmax(axis=1)
        rows = np.arange(flat.shape[0])
        weak = np.abs(flat[rows, largest]) < needed
        if weak.any():
            signs = np.where(flat[rows, largest] < 0, -1.0, 1.0)
            flat[rows[weak], largest[weak]] = (signs * needed)[weak]
            set_input(model, graph, operator, 1, as_stored(flat.reshape(kernel.shape), kind))
    drop_unused_tensors(model)
