"""Like channels on both sides of an activation, where a depthwise convolution reads them.

A depthwise convolution mixes no channels, so nothing evens them out: in PP-LCNet one channel reaches 127 and half of
the others 4 or less, and on one grid for all of them those have 3 of 8 bits left. Layer by layer that adds up:
PicoDet's outputs came out at 5 dB. Through an activation that is no multiple of what it reads, channels cannot be
scaled; around it they can, where it computes in float between two integer convolutions:

    convolution (weights / s) -> integers -> * s -> activation -> / t -> integers -> depthwise convolution (weights * t)

What the channels differ by then lies in weights that have a scale for each output channel. What the model computes
stays. (Scales for single channels in the quantizing nodes themselves would need no products, but onnxruntime's kernels
for these are slow: 7 times the latency of the whole model.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.converters.onnx_precisions import QUANTIZED_OPERATORS, described_nodes
from edgekit.converters.onnx_scalars import number_in, numbers_of, only_reader, readers_of
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.ranges import Range

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_STEPS: Final = 255
_APART: Final = {True: 2.0, False: 4.0}
"""Times by which the grid for all is wider than the middle channel's values: where the activation computes in float
anyway it is worth one of 8 bits, where it would leave its integer kernels two."""

_DEAD: Final = 1e-6
"""Share of the grid for all below which a channel is always 0, and counts for nothing."""

_NARROWEST: Final = 1 / 1024
"""Share of the grid for all that a channel's is at least: on finer steps its bias would leave 32 bits."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """An activation that only a depthwise convolution reads.

    Attributes:
        writer: Name of the convolution before it, "" where something else is.
        before: Value that the activation reads.
        nodes: Names of its nodes: one, or a gate and a product, then products and sums with one number.
        is_float: It computes in float in any case.
        after: Value that it gives.
        reader: Name of the depthwise convolution.
    """

    writer: str
    before: str
    nodes: tuple[str, ...]
    is_float: bool
    after: str
    reader: str


def find_passages(graph: onnx.GraphProto, weighted: Collection[str]) -> tuple[Passage, ...]:
    """Returns the activations that only a depthwise convolution reads.

    Args:
        graph: The float graph.
        weighted: Names of the convolutions that compute in integers.
    """
    outputs = [value.name for value in graph.output]
    writers = {name: node for node in graph.node for name in node.output}
    numbers, readers = numbers_of(graph), readers_of(graph)
    depthwise = _depthwise(graph) & frozenset(weighted)
    found: list[Passage] = []
    for before in activation_inputs(described_nodes(graph), outputs):
        nodes = [node for node in readers[before] if node is not None]
        is_float = any(node.op_type not in QUANTIZED_OPERATORS for node in nodes)
        behind = only_reader(nodes[-1].output[0], readers)
        while behind is not None and number_in(behind, numbers) is not None:
            nodes.append(behind)
            behind = only_reader(behind.output[0], readers)
        if behind is None or behind.name not in depthwise:
            continue
        writer = writers.get(before)
        found.append(
            Passage(
                writer=writer.name if writer is not None and writer.name in weighted else "",
                before=before,
                nodes=tuple(node.name for node in nodes),
                is_float=is_float,
                after=nodes[-1].output[0],
                reader=behind.name,
            )
        )
    return tuple(found)


def _depthwise(graph: onnx.GraphProto) -> frozenset[str]:
    """Returns the convolutions that make one channel of each."""
    counts = {
        tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 2 and tensor.dims[1] == 1
    }
    return frozenset(
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and any(item.name == "group" and item.i == counts.get(node.input[1]) for item in node.attribute)
    )


def far_apart(
    passages: Iterable[Passage], extremes: Mapping[str, ChannelExtremes], ranges: Mapping[str, Range]
) -> tuple[Passage, ...]:
    """Returns the passages behind whose activation the middle channel has a small part of the grid for all."""
    import numpy as np

    found: list[Passage] = []
    for passage in passages:
        if not {passage.before, passage.after} <= ranges.keys():
            continue  # infinite values, which no grid holds
        low, high = extremes[passage.after].ranges()
        whole = ranges[passage.after].high - ranges[passage.after].low
        alive = (high - low)[high - low > _DEAD * whole]
        if alive.size and float(np.median(alive)) * _APART[passage.is_float] <= whole:
            found.append(passage)
    return tuple(found)


def even_out(
    model: onnx.ModelProto,
    passages: Sequence[Passage],
    extremes: Mapping[str, ChannelExtremes],
    ranges: Mapping[str, Range],
) -> tuple[dict[str, Range], frozenset[str]]:
    """Scales the channels around passages, in place; returns the ranges of the new values, and what stays float."""
    nodes = {node.name: node for node in model.graph.node}
    kept = {name for passage in passages for name in passage.nodes}
    found: dict[str, Range] = {}
    added: dict[str, onnx.NodeProto] = {}
    for passage in passages:
        if passage.writer:
            writer = nodes[passage.writer]
            factors, scaled = _factors(extremes[passage.before], ranges[passage.before])
            _scale_weights(model.graph, writer, 1 / factors, with_bias=True)
            writer.output[0] = f"{passage.before}.even"
            found[writer.output[0]] = scaled
            added[writer.name] = _product(model.graph, writer, factors, writer.output[0], passage.before)
        reader = nodes[passage.reader]
        factors, scaled = _factors(extremes[passage.after], ranges[passage.after])
        _scale_weights(model.graph, reader, factors, with_bias=False)
        reader.input[0] = f"{passage.after}.even"
        found[reader.input[0]] = scaled
        added[passage.nodes[-1]] = _product(model.graph, reader, 1 / factors, passage.after, reader.input[0])
    ordered = [item for node in model.graph.node for item in (node, added.get(node.name)) if item is not None]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return found, frozenset(kept | {node.name for node in added.values()})


def _factors(extremes: ChannelExtremes, whole: Range) -> tuple[NDArray[np.float64], Range]:
    """Returns by what each channel is divided, (C,), and the range of the results.

    They share a zero point z, for a convolution pads with it, so a channel from l to h needs steps of
    max(h / (255 - z), -l / z); z is the one with the least geometric mean of these. The largest factor is 1.
    """
    import numpy as np

    low, high = extremes.ranges()
    # The range for all leaves out what nobody tells apart.
    low, high = np.maximum(low, whole.low), np.minimum(high, whole.high)
    zeros = np.arange(1, _STEPS)[:, None] if float(low.min()) < 0 else np.zeros((1, 1))
    below = np.divide(-low, zeros, out=np.zeros(np.broadcast_shapes(low.shape, zeros.shape)), where=zeros > 0)
    least = _NARROWEST * (whole.high - whole.low) / _STEPS
    steps = np.maximum(np.maximum(high / (_STEPS - zeros), below), least)
    best = int(np.log(steps).sum(axis=1).argmin())
    step, zero = float(steps[best].max()), float(zeros[best, 0])
    return steps[best] / step, Range(low=-zero * step, high=(_STEPS - zero) * step)


def _product(
    graph: onnx.GraphProto, layer: onnx.NodeProto, factors: NDArray[np.float64], source: str, result: str
) -> onnx.NodeProto:
    """Returns the node that multiplies each channel of a value by a factor; `layer` reads or writes it."""
    import numpy as np
    import onnx

    name = f"{result}.factors"
    weights = next(tensor for tensor in graph.initializer if tensor.name == layer.input[1])
    shaped = factors.astype(np.float32).reshape(-1, *[1] * (len(weights.dims) - 2))
    graph.initializer.append(onnx.numpy_helper.from_array(shaped, name))
    return onnx.helper.make_node("Mul", [source, name], [result], f"{result}.product")


def _scale_weights(
    graph: onnx.GraphProto, layer: onnx.NodeProto, factors: NDArray[np.float64], *, with_bias: bool
) -> None:
    """Multiplies a layer's weights, and its bias, by a factor for each output channel."""
    import numpy as np
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for place in range(1, 2 + with_bias):
        values = numpy_helper.to_array(tensors[layer.input[place]]).astype(np.float64)
        scaled = values * factors.reshape(-1, *[1] * (values.ndim - 1))
        # A new tensor: the old one may belong to another node too, and a layer may lie between two passages.
        name = f"{layer.input[place]}.even.{layer.name}"
        graph.initializer.append(numpy_helper.from_array(scaled.astype(np.float32), name))
        layer.input[place] = name
