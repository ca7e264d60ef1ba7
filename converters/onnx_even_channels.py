"""Like channels on both sides of an activation in an ONNX graph, where convolutions write and read them.

A depthwise convolution mixes no channels, so nothing evens them out: in PP-LCNet one channel reaches 127 and half of
the others 4 or less, and on one grid for all of them those have 3 of 8 bits left. Layer by layer that adds up:
PicoDet's outputs came out at 5 dB. Through an activation that is no multiple of what it reads, channels cannot be
scaled; around it they can, where it computes in float between two integer convolutions:

    convolution (weights / s) -> integers -> * s -> activation -> / t -> integers -> convolutions (weights * t)

What the channels differ by then lies in the weights (see `edgekit.quantization.even_channels`). What the model computes
stays. (Scales for single channels in the quantizing nodes themselves would need no products, but onnxruntime's kernels
for these are slow: 7 times the latency of the whole model.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from edgekit.analysis.activation_inputs import activation_inputs
from edgekit.converters.onnx_precisions import QUANTIZED_OPERATORS, described_nodes
from edgekit.converters.onnx_scalars import number_in, numbers_of, only_reader, readers_of
from edgekit.quantization.channel_extremes import ChannelExtremes
from edgekit.quantization.even_channels import (
    HALF_A_BIT,
    TWO_BITS,
    Kernel,
    balanced_channels,
    even_channels,
    times_apart,
)
from edgekit.quantization.ranges import Range

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekit.converters.onnx_scalars import Readers


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """An activation around which channels may be scaled.

    Attributes:
        writer: Name of the convolution before it, "" where something else is.
        before: Value that the activation reads.
        nodes: Names of its nodes: one, or a gate and a product, then products and sums with one number.
        is_float: It computes in float in any case.
        after: Value that it gives.
        readers: Names of the convolutions that read this, none where anything else does too.
    """

    writer: str
    before: str
    nodes: tuple[str, ...]
    is_float: bool
    after: str
    readers: tuple[str, ...]

    @property
    def scaled(self) -> tuple[str, ...]:
        """Returns the values whose channels may be scaled."""
        return (*([self.before] if self.writer else []), *([self.after] if self.readers else []))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvenedOut:
    """What evening out changed in a graph.

    Attributes:
        ranges: Of the new values.
        factors: By what the channels of a new value are smaller than those of the value that its readers had read.
        sources: That value, by the new one.
        kept: Names of the nodes that compute in float: activations and the products around them.
    """

    ranges: Mapping[str, Range]
    factors: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str]
    kept: frozenset[str]


def find_passages(graph: onnx.GraphProto, weighted: Collection[str]) -> tuple[Passage, ...]:
    """Returns the activations that a convolution writes, or that nothing but convolutions reads.

    One that has an integer kernel is among them only where depthwise convolutions read it: it would become slower.

    Args:
        graph: The float graph.
        weighted: Names of the convolutions that compute in integers.
    """
    outputs = [value.name for value in graph.output]
    writers = {name: node for node in graph.node for name in node.output}
    numbers, readers = numbers_of(graph), readers_of(graph)
    depthwise = _depthwise(graph)
    found: list[Passage] = []
    for before in activation_inputs(described_nodes(graph), outputs):
        nodes = [node for node in readers[before] if node is not None]
        is_float = any(node.op_type not in QUANTIZED_OPERATORS for node in nodes)
        behind = only_reader(nodes[-1].output[0], readers)
        while behind is not None and number_in(behind, numbers) is not None:
            nodes.append(behind)
            behind = only_reader(behind.output[0], readers)
        after = nodes[-1].output[0]
        writer, reading = writers.get(before), _reading_convolutions(after, readers, weighted)
        passage = Passage(
            writer=writer.name if writer is not None and writer.op_type == "Conv" and writer.name in weighted else "",
            before=before,
            nodes=tuple(node.name for node in nodes),
            is_float=is_float,
            after=after,
            readers=reading,
        )
        if (is_float and (passage.writer or reading)) or (reading and depthwise.issuperset(reading)):
            found.append(passage)
    return tuple(found)


def _reading_convolutions(value: str, readers: Readers, weighted: Collection[str]) -> tuple[str, ...]:
    """Returns the integer convolutions that read a value, none where anything else does too."""
    found: list[str] = []
    for node in readers.get(value, [None]):
        if node is None or node.op_type != "Conv" or node.name not in weighted:
            return ()
        found.append(node.name)
    return tuple(found)


def _depthwise(graph: onnx.GraphProto) -> frozenset[str]:
    """Returns the convolutions that make one channel of each."""
    counts = {
        tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 2 and tensor.dims[1] == 1
    }
    return frozenset(
        node.name for node in graph.node if node.op_type == "Conv" and _groups(node) == counts.get(node.input[1])
    )


def _groups(node: onnx.NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "group"), 1)


def far_apart(
    passages: Sequence[Passage], extremes: Mapping[str, ChannelExtremes], ranges: Mapping[str, Range]
) -> tuple[Passage, ...]:
    """Returns the passages whose channels are far apart, each with the sides on which they are.

    An activation that leaves its integer kernels for this is evened out on both sides, or not at all.
    """
    found: list[Passage] = []
    for passage in passages:
        if not {passage.before, passage.after} <= ranges.keys():
            continue  # infinite values, which no grid holds
        least = HALF_A_BIT if passage.is_float else TWO_BITS
        far = {name for name in passage.scaled if times_apart(extremes[name], ranges[name]) >= least}
        if passage.is_float:
            writer = passage.writer if passage.before in far else ""
            readers = passage.readers if passage.after in far else ()
            found += [replace(passage, writer=writer, readers=readers)] if far else []
        elif passage.after in far:
            found.append(passage)
    return tuple(found)


def even_out(
    model: onnx.ModelProto,
    passages: Sequence[Passage],
    extremes: Mapping[str, ChannelExtremes],
    ranges: Mapping[str, Range],
) -> EvenedOut:
    """Scales the channels around passages, in place, and returns what came of it."""
    nodes = {node.name: node for node in model.graph.node}
    found: dict[str, Range] = {}
    factors: dict[str, NDArray[np.float64]] = {}
    sources: dict[str, str] = {}
    added: dict[str, onnx.NodeProto] = {}
    for passage in passages:
        if passage.writer:
            writer = nodes[passage.writer]
            even = even_channels(extremes[passage.before], ranges[passage.before])
            _divide_outputs(model.graph, writer, even.factors)
            writer.output[0] = f"{passage.before}.even"
            found[writer.output[0]] = even.range
            added[writer.name] = _product(model.graph, even.factors, writer.output[0], passage.before, writer)
        reading = [nodes[name] for name in passage.readers]
        kernels = [_kernel(model.graph, node) for node in reading]
        balanced = balanced_channels(extremes[passage.after], ranges[passage.after], kernels) if reading else None
        if balanced is not None:
            scaled = f"{passage.after}.even"
            for node, kernel in zip(reading, kernels, strict=True):
                _set_constant(model.graph, node, 1, kernel.scaled(balanced.factors))
                node.input[0] = scaled
            found[scaled], factors[scaled], sources[scaled] = balanced.range, balanced.factors, passage.after
            added[passage.nodes[-1]] = _product(model.graph, 1 / balanced.factors, passage.after, scaled, reading[0])
    ordered = [item for node in model.graph.node for item in (node, added.get(node.name)) if item is not None]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    kept = {name for passage in passages for name in passage.nodes} | {node.name for node in added.values()}
    return EvenedOut(ranges=found, factors=factors, sources=sources, kept=frozenset(kept))


def _product(
    graph: onnx.GraphProto, factors: NDArray[np.float64], source: str, result: str, layer: onnx.NodeProto
) -> onnx.NodeProto:
    """Returns the node that multiplies each channel of a value by a factor; `layer` reads or writes it."""
    import numpy as np
    import onnx

    name = f"{result}.factors"
    weights = next(tensor for tensor in graph.initializer if tensor.name == layer.input[1])
    shaped = factors.astype(np.float32).reshape(-1, *[1] * (len(weights.dims) - 2))
    graph.initializer.append(onnx.numpy_helper.from_array(shaped, name))
    return onnx.helper.make_node("Mul", [source, name], [result], f"{result}.product")


def _kernel(graph: onnx.GraphProto, layer: onnx.NodeProto) -> Kernel:
    return Kernel(weights=_constant(graph, layer, 1), groups=_groups(layer))


def _divide_outputs(graph: onnx.GraphProto, layer: onnx.NodeProto, factors: NDArray[np.float64]) -> None:
    """Divides a layer's weights, and its bias, by a factor for each output channel."""
    for place in range(1, len(layer.input)):
        values = _constant(graph, layer, place)
        _set_constant(graph, layer, place, values / factors.reshape(-1, *[1] * (values.ndim - 1)))


def _constant(graph: onnx.GraphProto, layer: onnx.NodeProto, place: int) -> NDArray[np.floating]:
    from onnx import numpy_helper

    stored = next(tensor for tensor in graph.initializer if tensor.name == layer.input[place])
    values: NDArray[np.floating] = numpy_helper.to_array(stored)
    return values


def _set_constant(graph: onnx.GraphProto, layer: onnx.NodeProto, place: int, values: NDArray[np.float64]) -> None:
    """Gives a layer a constant of its own: the old one may belong to another too, and passages may share a layer."""
    import numpy as np
    from onnx import numpy_helper

    name = f"{layer.input[place]}.even.{layer.name}"
    graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    layer.input[place] = name
