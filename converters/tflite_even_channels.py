"""Like channels on both sides of an activation in a TFLite graph, where depthwise convolutions read it.

LiteRT has integer kernels for a hard swish and its like. Where channels are so far apart that two of 8 bits are lost,
the activation leaves them, as in ONNX (see `edgekit.quantization.even_channels`):

    convolution (weights / s) -> integers -> * s -> activation -> / t -> integers -> depthwise convolution (weights * t)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.analysis.tflite_protocols import TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.converters.tflite_file import add_constant, add_tensor, constant, new_operator, operators, text
from edgekit.converters.tflite_precisions import described_operators, output_names
from edgekit.converters.tflite_weights import as_kernel, as_stored, bias_of, set_input
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.even_channels import TWO_BITS, Kernel, balanced_channels, even_channels, times_apart
from edgekit.quantization.ranges import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONVOLUTIONS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """An activation that only depthwise convolutions read.

    Attributes:
        writer: Convolution before it, None where something else is.
        activation: The activation.
        readers: The depthwise convolutions.
        before: Name of what the activation reads.
        after: Name of what it gives.
    """

    writer: TFLiteOperator | None
    activation: TFLiteOperator
    readers: tuple[TFLiteOperator, ...]
    before: str
    after: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvenedOut:
    """What evening out changed in a graph.

    Attributes:
        ranges: Of the tensors that lie on other grids now, by name.
        means: Mean of each channel of the new tensors that convolutions read, (channels,), by name.
        kept: Names of the results of activations and products, which compute in float.
    """

    ranges: Mapping[str, Range]
    means: Mapping[str, NDArray[np.float64]]
    kept: frozenset[str]


def find_passages(model: TFLiteModel, kept: Collection[str]) -> tuple[Passage, ...]:
    """Returns the activations of the main graph around which channels may be scaled.

    Args:
        model: ModelT.
        kept: Names of the results of operators that stay float.
    """
    main = model.subgraphs[0]
    listed = [(operator, kind) for graph, operator, kind in operators(model) if graph is main]
    readers: dict[int, list[tuple[TFLiteOperator, str]]] = {}
    for operator, kind in listed:
        for index in {int(i) for i in operator.inputs}:
            readers.setdefault(index, []).append((operator, kind))
    writers = {int(i): (operator, kind) for operator, kind in listed for i in operator.outputs}
    outputs = {int(i) for i in main.outputs}
    activations = activation_inputs(described_operators(model), output_names(model))
    found: list[Passage] = []
    for index, tensor in enumerate(main.tensors):
        name = text(tensor.name)
        if name not in activations or len(readers.get(index, [])) != 1:
            continue
        activation = readers[index][0][0]
        result = int(activation.outputs[0])
        after = text(main.tensors[result].name)
        reading = readers.get(result, [])
        apart = bool(reading) and result not in outputs and after not in kept
        if not apart or not all(_takes_factors(model, main, item, kind, kept) for item, kind in reading):
            continue
        writer, kind = writers.get(index, (None, ""))
        if writer is not None and not _gives_factors(model, main, writer, kind, kept):
            writer = None
        found.append(
            Passage(
                writer=writer,
                activation=activation,
                readers=tuple(item for item, _ in reading),
                before=name,
                after=after,
            )
        )
    return tuple(found)


def _gives_factors(
    model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator, kind: str, kept: Collection[str]
) -> bool:
    """Returns True for an integer convolution with constant weights and bias, and no activation of its own."""
    return (
        kind in _CONVOLUTIONS
        and text(graph.tensors[operator.outputs[0]].name) not in kept
        and operator.builtinOptions.fusedActivationFunction == 0
        and constant(model, graph.tensors[operator.inputs[1]]) is not None
        and bias_of(model, graph, operator) is not None
    )


def _takes_factors(
    model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator, kind: str, kept: Collection[str]
) -> bool:
    """Returns True for an integer depthwise convolution that makes one channel of each."""
    weights = constant(model, graph.tensors[operator.inputs[1]]) if kind == "DEPTHWISE_CONV_2D" else None
    return (
        weights is not None
        and text(graph.tensors[operator.outputs[0]].name) not in kept
        and int(graph.tensors[operator.inputs[0]].shape[-1]) == weights.shape[-1]
    )


def far_apart(
    passages: Sequence[Passage], extremes: Mapping[str, ChannelExtremes], ranges: Mapping[str, Range]
) -> tuple[Passage, ...]:
    """Returns the passages behind whose activation the middle channel loses two bits or more."""
    return tuple(
        passage
        for passage in passages
        if {passage.before, passage.after} <= ranges.keys()
        and times_apart(extremes[passage.after], ranges[passage.after]) >= TWO_BITS
    )


def even_out(
    model: TFLiteModel,
    passages: Sequence[Passage],
    extremes: Mapping[str, ChannelExtremes],
    ranges: Mapping[str, Range],
    means: Mapping[str, NDArray[np.float64]],
) -> EvenedOut:
    """Scales the channels around passages, in place, and returns what came of it.

    Args:
        model: ModelT.
        passages: Around which activations.
        extremes: Of the channels before and behind these, by tensor name.
        ranges: Of these tensors.
        means: Mean of each channel of what convolutions read, by tensor name.
    """
    graph = model.subgraphs[0]
    found: dict[str, Range] = {}
    scaled_means: dict[str, NDArray[np.float64]] = {}
    kept: set[str] = set()
    behind: dict[int, TFLiteOperator] = {}
    for passage in passages:
        if passage.writer is not None:
            even = even_channels(extremes[passage.before], ranges[passage.before])
            _divide_outputs(model, graph, passage.writer, even.factors)
            product = _product(model, graph, int(passage.writer.outputs[0]), even.factors)
            passage.activation.inputs = [int(product.outputs[0]), *map(int, passage.activation.inputs[1:])]
            behind[id(passage.writer)] = product
            found[passage.before] = even.range
        kernels = [_kernel(model, graph, reader) for reader in passage.readers]
        balanced = balanced_channels(extremes[passage.after], ranges[passage.after], kernels)
        if balanced is not None:
            product = _product(model, graph, int(passage.activation.outputs[0]), 1 / balanced.factors)
            for reader, kernel in zip(passage.readers, kernels, strict=True):
                scaled = kernel.scaled(balanced.factors)
                set_input(model, graph, reader, 1, as_stored(scaled, "DEPTHWISE_CONV_2D"))
                reader.inputs = [int(product.outputs[0]), *map(int, reader.inputs[1:])]
            behind[id(passage.activation)] = product
            name = text(graph.tensors[product.outputs[0]].name)
            found[name], scaled_means[name] = balanced.range, means[passage.after] / balanced.factors
        kept.add(passage.after)
    ordered = [item for one in graph.operators for item in (one, behind.get(id(one))) if item is not None]
    kept |= {text(graph.tensors[item.outputs[0]].name) for item in behind.values()}
    graph.operators = ordered
    return EvenedOut(ranges=found, means=scaled_means, kept=frozenset(kept))


def _kernel(model: TFLiteModel, graph: TFLiteGraph, reader: TFLiteOperator) -> Kernel:
    weights, groups = as_kernel(_weights(model, graph, reader), "DEPTHWISE_CONV_2D")
    return Kernel(weights=weights, groups=groups)


def _weights(model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator) -> NDArray[np.float32]:
    """Returns weights of which `find_passages` saw that they are constant."""
    found = constant(model, graph.tensors[operator.inputs[1]])
    if found is None:
        raise TypeError(text(graph.tensors[operator.inputs[1]].name))
    return found


def _divide_outputs(
    model: TFLiteModel, graph: TFLiteGraph, writer: TFLiteOperator, factors: NDArray[np.float64]
) -> None:
    """Divides weights and bias by a factor for each output channel."""
    kind = "CONV_2D" if int(graph.tensors[writer.inputs[1]].shape[0]) == factors.size else "DEPTHWISE_CONV_2D"
    kernel, _ = as_kernel(_weights(model, graph, writer), kind)
    bias = bias_of(model, graph, writer)
    set_input(model, graph, writer, 1, as_stored(kernel / factors.reshape(-1, 1, 1, 1), kind))
    if bias is not None:
        set_input(model, graph, writer, 2, bias / factors)


def _product(model: TFLiteModel, graph: TFLiteGraph, source: int, factors: NDArray[np.float64]) -> TFLiteOperator:
    """Returns an operator, in no graph yet, that multiplies each channel of a tensor by a factor."""
    import numpy as np

    tensor = graph.tensors[source]
    name = text(tensor.name)
    shaped = np.ascontiguousarray(factors, dtype=np.float32)
    made = add_constant(model, graph, f"{name}/factors", shaped)
    result = add_tensor(graph, f"{name}/scaled", list(tensor.shape), tensor.type, 0)
    graph.tensors[result].shapeSignature = tensor.shapeSignature
    return new_operator(model, "MUL", [source, made], result, "MulOptions")
