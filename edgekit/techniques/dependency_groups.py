"""Which channels of a graph must be removed together.

A channel that a layer writes is carried on by activations, pooling, additions and concatenations until other layers
read it. All layers that write into one *group* of channels, and all that read it, lose a channel together (Fang et al.,
"DepGraph: Towards Any Structural Pruning", 2023, section 3.2). Unlike the spaces of `channel_spaces`, which may be
scaled, a group passes through any operator that treats channels one by one, and a tensor may hold several groups side
by side (concatenation) or each channel several times (flattening).

What is not known to treat channels one by one blocks its groups: they keep all their channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

CONVOLUTIONS: Final = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED: Final = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
_UNARY: Final = frozenset(
    {
        "abs", "alias", "clamp", "clamp_max", "clamp_min", "clone", "contiguous", "dropout", "elu", "exp", "gelu",
        "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "neg", "relu", "relu6", "sigmoid", "silu", "sqrt",
        "tanh", "to", "_to_copy",
    }
)  # fmt: skip
"""Operators that treat every value by itself."""

_SPATIAL: Final = frozenset(
    {
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d",
        "max_pool2d", "upsample_bilinear2d", "upsample_nearest2d",
    }
)  # fmt: skip
"""Operators that treat every channel (axis 1) by itself."""

_BINARY: Final = frozenset({"add", "sub", "mul", "div", "maximum", "minimum"})
_RESHAPES: Final = frozenset({"flatten", "view", "reshape", "squeeze", "unsqueeze"})


@final
@dataclass(slots=True, kw_only=True, eq=False)
class DependencyGroup:
    """Channels that are removed together.

    Attributes:
        channels: Their number.
        writers: Layers whose outputs they are.
        blocked: They must all stay.
    """

    channels: int
    writers: list[Node] = field(default_factory=list[Any])
    blocked: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a tensor's channel axis: all channels of a group in order, each one `repeat` times in a row."""

    group: int
    repeat: int = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What lies along a tensor's channel axis."""

    axis: int
    pieces: tuple[Piece, ...]


@final
class Dependencies:
    """The groups of a graph.

    Args:
        graph_module: A captured graph with shapes (`meta["val"]`); read only.
    """

    def __init__(self, graph_module: GraphModule) -> None:
        self._module = graph_module
        self._groups: list[DependencyGroup] = []
        self._parent: list[int] = []
        self.written: dict[Node, int] = {}
        """Layer to the group of its outputs; through `root`."""
        self.read: dict[Node, Channels] = {}
        """Layer to what lies along its input's channel axis."""
        self.carried: dict[Node, Channels] = {}
        """Depthwise convolution or batch norm to the channels that it treats one by one."""
        self.reshaped: dict[Node, Channels] = {}
        """Reshape to what lies along its output's channel axis."""
        self._layout: dict[Node, Channels] = {}
        self._uses: dict[str, int] = {}
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                self._uses[node.target] = self._uses.get(node.target, 0) + len(node.users)
        for node in graph_module.graph.nodes:
            self._visit(node)

    def group(self, index: int) -> DependencyGroup:
        """Returns the group that an index stands for."""
        return self._groups[self.root(index)]

    def root(self, index: int) -> int:
        """Returns the index of a group after all joins."""
        while self._parent[index] != index:
            index = self._parent[index]
        return index

    def free(self) -> dict[int, DependencyGroup]:
        """Returns the groups that may lose channels, by index."""
        return {
            index: group
            for index, group in enumerate(self._groups)
            if self.root(index) == index and not group.blocked and group.writers
        }

    def _visit(self, node: Node) -> None:
        name = operator_name(node)
        known = [item for item in node.all_input_nodes if item in self._layout]
        if name in CONVOLUTIONS | TRANSPOSED or name == "linear":
            self._visit_layer(node, name)
        elif name == "batch_norm" and node.args[0] in self._layout:
            self.carried[node] = self._layout[node] = self._layout[node.args[0]]
        elif name in _BINARY and known:
            self._visit_binary(node, known)
        elif name == "cat" and known:
            self._visit_cat(node)
        elif len(known) == 1 and len(node.all_input_nodes) == 1:
            self._visit_follower(node, name, known[0])
        else:
            self._block(known)

    def _visit_layer(self, node: Node, name: str) -> None:
        source, weight = node.args[0], attribute(self._module, node.args[1])
        bias = node.args[2] if len(node.args) > 2 else None
        parts = [item for item in node.args[1:3] if is_node(item)]
        usable = weight is not None and (bias is None or attribute(self._module, bias) is not None)
        usable &= all(self._uses.get(getattr(item, "target", ""), 1) == 1 for item in parts)
        groups = 1 if name == "linear" else _groups_of(node, name)
        axis = _rank(node) - 1 if name == "linear" else 1
        if groups > 1:
            shape = () if weight is None else tuple(weight.shape[:2])
            depthwise = usable and name in CONVOLUTIONS and shape == (groups, 1)
            if depthwise and source in self._layout and self._layout[source].axis == 1:
                self.carried[node] = self._layout[node] = self._layout[source]
            else:
                self._block([source])
            return
        if source in self._layout:
            if usable and self._layout[source].axis == axis:
                self.read[node] = self._layout[source]
            else:
                self._block([source])
        if usable:
            index = len(self._groups)
            self._groups.append(DependencyGroup(channels=int(node.meta["val"].shape[axis]), writers=[node]))
            self._parent.append(index)
            self.written[node] = index
            self._layout[node] = Channels(axis=axis, pieces=(Piece(group=index),))

    def _visit_binary(self, node: Node, known: Sequence[Node]) -> None:
        others = [item for item in node.args if is_node(item) and item not in self._layout]
        if any(not self._is_even(item, self._layout[known[0]].axis, node) for item in others):
            self._block(known)
            return
        # A tensor with one value along the channel axis is spread over all channels.
        wide = [item for item in known if _size(item, self._layout[item].axis) == _size(node, self._layout[item].axis)]
        if len(wide) < len(known) or len({self._layout[item].axis for item in known}) > 1:
            self._block(known)
            return
        if any(_rank(item) != _rank(node) for item in known) or not self._join(known):
            self._block(known)
            return
        self._layout[node] = self._layout[known[0]]

    def _visit_cat(self, node: Node) -> None:
        items = list(node.args[0])
        if any(item not in self._layout for item in items) or len({self._layout[i].axis for i in items}) > 1:
            self._block(item for item in items if item in self._layout)
            return
        axis = self._layout[items[0]].axis
        if (node.args[1] if len(node.args) > 1 else 0) % _rank(node) == axis:
            pieces = tuple(piece for item in items for piece in self._layout[item].pieces)
            self._layout[node] = Channels(axis=axis, pieces=pieces)
        elif self._join(items):
            self._layout[node] = self._layout[items[0]]
        else:
            self._block(items)

    def _visit_follower(self, node: Node, name: str, source: Node) -> None:
        held = self._layout[source]
        found: Channels | None = None
        if name in _UNARY or (name in _SPATIAL and held.axis == 1):
            found = held
        elif name == "pad":
            # Pairs of (before, after) from the last axis on: the channel axis must not be among them.
            found = held if len(node.args[1]) // 2 <= _rank(source) - 1 - held.axis else None
        elif name == "mean":
            found = _after_mean(node, source, held)
        elif name in ("permute", "transpose"):
            found = _after_transpose(node, name, source, held)
        elif name in _RESHAPES:
            found = _after_reshape(node, source, held)
            if found is not None:
                self.reshaped[node] = found
        if found is None:
            self._block([source])
        else:
            self._layout[node] = found

    def _is_even(self, item: Node, axis: int, node: Node) -> bool:
        """Returns whether a value without known channels is the same for all channels."""
        value = item.meta.get("val")
        shape = tuple(getattr(attribute(self._module, item), "shape", getattr(value, "shape", ())))
        position = axis - (_rank(node) - len(shape))
        return position < 0 or shape[position] == 1

    def _join(self, items: Sequence[Node]) -> bool:
        """Makes groups at the same place one; returns False where the tensors are made up differently."""
        first, *rest = (self._layout[item].pieces for item in items)
        for pieces in rest:
            if len(pieces) != len(first) or any(
                one.repeat != other.repeat or self.group(one.group).channels != self.group(other.group).channels
                for one, other in zip(first, pieces, strict=True)
            ):
                return False
        for pieces in rest:
            for one, other in zip(first, pieces, strict=True):
                kept, gone = self.root(one.group), self.root(other.group)
                if kept != gone:
                    self._groups[kept].writers += self._groups[gone].writers
                    self._groups[kept].blocked |= self._groups[gone].blocked
                    self._parent[gone] = kept
        return True

    def _block(self, items: Iterable[Node]) -> None:
        for item in items:
            for piece in self._layout[item].pieces if item in self._layout else ():
                self.group(piece.group).blocked = True


def _groups_of(node: Node, name: str) -> int:
    position = 7 - 1 if name in CONVOLUTIONS else 6
    return int(node.args[position]) if len(node.args) > position else 1


def _rank(node: Node) -> int:
    return len(node.meta["val"].shape)


def _size(node: Node, axis: int) -> int:
    shape = node.meta["val"].shape
    return int(shape[axis]) if axis < len(shape) else 1


def _after_mean(node: Node, source: Node, held: Channels) -> Channels | None:
    rank = _rank(source)
    given = node.args[1] if len(node.args) > 1 and node.args[1] else range(rank)
    axes = {int(axis) % rank for axis in given}
    if held.axis in axes:
        return None
    keeps = len(node.args) > 2 and bool(node.args[2])
    return held if keeps else Channels(axis=held.axis - sum(axis < held.axis for axis in axes), pieces=held.pieces)


def _after_transpose(node: Node, name: str, source: Node, held: Channels) -> Channels:
    rank = _rank(source)
    order = list(range(rank))
    if name == "permute":
        order = [int(axis) % rank for axis in node.args[1]]
    else:
        one, other = (int(axis) % rank for axis in node.args[1:3])
        order[one], order[other] = order[other], order[one]
    return Channels(axis=order.index(held.axis), pieces=held.pieces)


def _after_reshape(node: Node, source: Node, held: Channels) -> Channels | None:
    """Returns the channels after a reshape that keeps all axes before theirs; None for any other."""
    before, after = (tuple(int(size) for size in item.meta["val"].shape) for item in (source, node))
    axis = held.axis
    if before[:axis] != after[:axis] or len(after) <= axis:
        return None
    if before[axis] == after[axis]:
        return held
    inner = math.prod(before[axis + 1 :])
    if after[axis] != before[axis] * inner or math.prod(after[axis + 1 :]) != 1:
        return None
    pieces = tuple(Piece(group=piece.group, repeat=piece.repeat * inner) for piece in held.pieces)
    return Channels(axis=axis, pieces=pieces)
