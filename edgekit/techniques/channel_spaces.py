"""Which tensors of a graph share their channels, so that one channel can be scaled in all of them at once.

Layers write a space of channels and layers read it. In between lie operators f with f(x / s) = f(x) / s for every
s > 0: ReLU, additions inside the space, pooling, zero padding. If the writers divide a channel by s and the readers
multiply it by s, the model computes what it did before. A clamp with an upper bound (ReLU6) is no such operator: a
space that touches one is left alone, as is one that is an input or an output of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_CONVOLUTIONS: Final = frozenset({"conv1d", "conv2d"})
_HOMOGENEOUS: Final = frozenset(
    {"relu", "leaky_relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout", "alias", "contiguous"}
)
_RESHAPES: Final = frozenset({"flatten", "view", "reshape", "squeeze"})


@final
@dataclass(slots=True, kw_only=True)
class ChannelSpace:
    """Tensors that share their channels.

    Attributes:
        channels: Their number.
        writers: Layers whose outputs are divided.
        readers: Layers whose inputs are multiplied.
        tensors: The nodes whose values lie in it, with the axis of the channels.
        is_free: It may be scaled.
    """

    channels: int
    writers: list[Node] = field(default_factory=list[Any])
    readers: list[Node] = field(default_factory=list[Any])
    tensors: dict[Node, int] = field(default_factory=dict[Any, int])
    is_free: bool = True


def find_channel_spaces(graph_module: GraphModule) -> list[ChannelSpace]:
    """Returns the spaces that may be scaled and have writers and readers, in graph order."""
    finder = _Finder(graph_module)
    for node in graph_module.graph.nodes:
        finder.visit(node)
    unique = {id(space): space for space in finder.spaces.values()}
    return [space for space in unique.values() if space.is_free and space.writers and space.readers]


def is_depthwise(graph_module: GraphModule, node: Node) -> bool:
    """Returns True for a convolution with one filter for each channel."""
    weight = attribute(graph_module, node.args[1])
    groups = node.args[6] if len(node.args) > 6 else 1
    return operator_name(node) in _CONVOLUTIONS and groups > 1 and tuple(weight.shape[:2]) == (groups, 1)


@final
class _Finder:
    """Walks the graph once, in order."""

    def __init__(self, graph_module: GraphModule) -> None:
        self._module = graph_module
        self.spaces: dict[Node, ChannelSpace] = {}
        self._readers_of_weights: dict[str, int] = {}
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                self._readers_of_weights[node.target] = self._readers_of_weights.get(node.target, 0) + len(node.users)

    def visit(self, node: Node) -> None:
        name = operator_name(node)
        sources = [item for item in node.all_input_nodes if item in self.spaces]
        if name in _CONVOLUTIONS or name == "linear":
            self._visit_layer(node, name)
        elif len(sources) == 1 and self._keeps_channels(node, name, sources[0]):
            self._keep(node, sources[0])
        elif name == "add" and len(sources) == 2 and not node.kwargs and self._same_form(*sources):
            self._join(node, *sources)
        else:
            for source in sources:
                self.spaces[source].is_free = False

    def _keeps_channels(self, node: Node, name: str, source: Node) -> bool:
        """Returns whether an operator of one value is homogeneous and leaves the channels where they are."""
        if name == "mean":
            return self._is_spatial_mean(node, source)
        if name in _RESHAPES:
            return self._drops_ones(node, source)
        return name in _HOMOGENEOUS or (name == "pad" and _is_zero_pad(node))

    def _visit_layer(self, node: Node, name: str) -> None:
        source, weight = node.args[0], attribute(self._module, node.args[1])
        bias = node.args[2] if len(node.args) > 2 else None
        constant = weight is not None and (bias is None or attribute(self._module, bias) is not None)
        groups = node.args[6] if name != "linear" and len(node.args) > 6 else 1
        shared = any(
            self._readers_of_weights.get(getattr(item, "target", ""), 1) > 1 for item in node.args[1:3] if is_node(item)
        )
        usable = constant and not shared and (groups == 1 or is_depthwise(self._module, node))
        if source in self.spaces:
            space = self.spaces[source]
            axis = len(source.meta["val"].shape) - 1 if name == "linear" else 1
            if usable and space.tensors[source] == axis:
                space.readers.append(node)
            else:
                space.is_free = False
        if usable:
            shape = node.meta["val"].shape
            axis = len(shape) - 1 if name == "linear" else 1
            self.spaces[node] = ChannelSpace(channels=int(shape[axis]), writers=[node], tensors={node: axis})

    def _keep(self, node: Node, source: Node, axis: int | None = None) -> None:
        space = self.spaces[source]
        space.tensors[node] = space.tensors[source] if axis is None else axis
        self.spaces[node] = space
        if len(node.meta["val"].shape) <= space.tensors[node]:
            space.is_free = False

    def _join(self, node: Node, one: Node, other: Node) -> None:
        kept, gone = self.spaces[one], self.spaces[other]
        if kept is not gone:
            kept.writers += gone.writers
            kept.readers += gone.readers
            kept.tensors |= gone.tensors
            kept.is_free &= gone.is_free
            for tensor in gone.tensors:
                self.spaces[tensor] = kept
        self._keep(node, one)

    def _same_form(self, one: Node, other: Node) -> bool:
        equal = one.meta["val"].shape == other.meta["val"].shape
        return bool(equal and self.spaces[one].tensors[one] == self.spaces[other].tensors[other])

    def _is_spatial_mean(self, node: Node, source: Node) -> bool:
        """Returns whether a mean leaves the channels where they are."""
        rank = len(source.meta["val"].shape)
        axes = {int(axis) % rank for axis in (node.args[1] if len(node.args) > 1 else range(rank))}
        return min(axes) > self.spaces[source].tensors[source]

    def _drops_ones(self, node: Node, source: Node) -> bool:
        """Returns whether a reshape turns (N, C, 1, 1) into (N, C)."""
        before, after = tuple(source.meta["val"].shape), tuple(node.meta["val"].shape)
        return self.spaces[source].tensors[source] == 1 and before[:2] == after and set(before[2:]) <= {1}


def _is_zero_pad(node: Node) -> bool:
    constant = len(node.args) < 3 or node.args[2] == "constant"
    return constant and (len(node.args) < 4 or node.args[3] in (None, 0, 0.0)) and len(node.args[1]) <= 4
