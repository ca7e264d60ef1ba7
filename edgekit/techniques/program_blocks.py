"""Blocks of a float graph: stretches between two places at which one tensor carries all that the weights have made.

A residual block is one, for inside of it two tensors are alive. A chain without branches could be cut behind each
node; there, up to `MOST_LAYERS` layers with weights make one block, as an inverted bottleneck has them. What no weight
has touched (the inputs, a mask that comes from them) does not count as alive: it is the same in the float and in the
quantized model, and each block works it out anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.quantization.pt2e_graph import constant_of, is_float_tensor, placeholders, results_of, target_of
from edgekit.quantization.pt2e_plan import EMBEDDING, RECURRENT, WEIGHTED
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from edgekit.training.fake_quantization import FakeActivation

MOST_LAYERS: Final = 3
"""Layers with weights that make a block where nothing else says where it ends."""

_LOCAL: Final = frozenset(
    {"aten.conv2d.default", "aten.hardtanh.default", "aten.relu.default", "aten.add.Tensor", "aten.pad.default"}
)
"""Operators that compute a part of a picture as they do the whole of it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of a graph.

    Attributes:
        source: The node whose value it reads beside the model's inputs; None for the first block.
        results: The nodes whose values it makes: one, or the model's outputs.
        nodes: Calls and weights that make them, in order of execution.
    """

    source: Node | None
    results: tuple[Node, ...]
    nodes: tuple[Node, ...]

    @property
    def is_local(self) -> bool:
        """A part of its one input, a picture (1, C, H, W), is treated like the whole."""
        calls = [node for node in self.nodes if node.op == "call_function"]
        return len(self.feeds) == 1 and all(target_of(node) in _LOCAL and node.meta["val"].ndim == 4 for node in calls)

    @property
    def feeds(self) -> tuple[Node, ...]:
        """The nodes from outside that it reads: the source, inputs of the model."""
        return tuple(dict.fromkeys(item for node in self.nodes for item in node.all_input_nodes if self._outside(item)))

    def _outside(self, node: Node) -> bool:
        return node is self.source or node.op == "placeholder"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """What is rounded in a graph.

    Attributes:
        tensors: Name of a weight or bias to what takes its place.
        steps: Node to the grid of its value.
        integer: Nodes that read rounded values; what such a node makes is rounded for all of its readers.
    """

    tensors: Mapping[str, Tensor]
    steps: Mapping[str, FakeActivation]
    integer: Collection[str]


def find_blocks(module: GraphModule) -> tuple[Block, ...]:
    """Returns the blocks of a simplified float graph, in order of execution."""
    nodes: list[Node] = [node for node in module.graph.nodes if node.op != "output"]
    order = {node: i for i, node in enumerate(nodes)}
    made = _made_by_weights(module, nodes)
    results = results_of(module)
    cuts: list[Node] = []
    ends = {node: max((order.get(user, len(order)) for user in node.users), default=order[node]) for node in made}
    alive: set[Node] = set()
    for node in nodes:
        if node in made:
            alive = {item for item in alive if ends[item] > order[node]} | {node}
            if len(alive) == 1 and is_float_tensor(node) and node not in results:
                cuts.append(node)
    blocks: list[Block] = []
    source: Node | None = None
    previous: Node | None = None
    layers = 0
    for cut in cuts:
        more = sum(map(_is_layer, _between(previous, (cut,), order)))
        if previous is not None and layers and layers + more > MOST_LAYERS:
            blocks.append(Block(source=source, results=(previous,), nodes=_between(source, (previous,), order)))
            source, layers = previous, 0
        layers += more
        previous = cut
    last = sum(map(_is_layer, _between(previous, results, order)))
    if previous is not None and layers and last and layers + last > MOST_LAYERS:
        blocks.append(Block(source=source, results=(previous,), nodes=_between(source, (previous,), order)))
        source = previous
    ends_of_model = tuple(dict.fromkeys(node for node in results if node in made))
    if ends_of_model:
        blocks.append(Block(source=source, results=ends_of_model, nodes=_between(source, ends_of_model, order)))
    return tuple(blocks)


def run_block(
    module: GraphModule, block: Block, feeds: Mapping[Node, Tensor], rounding: Rounding | None = None
) -> tuple[Tensor, ...]:
    """Returns the values of a block's results, before they are rounded themselves.

    Args:
        module: The graph.
        block: The block.
        feeds: Value of each of `block.feeds`, before it is rounded.
        rounding: What is rounded; None for the float model.
    """
    from torch.fx.node import map_arg

    values: dict[Node, Any] = dict(feeds)
    rounded: dict[Node, Any] = {}

    def read(item: Node, reader: Node) -> Any:
        if rounding is None or item.name not in rounding.steps:
            return values[item]
        if item.name not in rounding.integer and reader.name not in rounding.integer:
            return values[item]
        if item not in rounded:
            rounded[item] = rounding.steps[item.name](values[item])
        return rounded[item]

    for node in block.nodes:
        if node.op == "get_attr":
            own = None if rounding is None else rounding.tensors.get(str(node.target))
            values[node] = constant_of(module, node) if own is None else own
            continue
        look = lambda item, node=node: read(item, node)  # noqa: E731  it has to know who reads
        values[node] = node.target(*map_arg(node.args, look), **map_arg(node.kwargs, look))
    return tuple(values[node] for node in block.results)


def inputs_of(module: GraphModule) -> tuple[Node, ...]:
    """Returns the nodes of the model's inputs, in call order."""
    return tuple(placeholders(module))


def _between(source: Node | None, results: Collection[Node], order: Mapping[Node, int]) -> tuple[Node, ...]:
    """Returns the calls and weights that lie between a source, or the inputs, and some results."""
    found: set[Node] = set()
    left = list(results)
    while left:
        node = left.pop()
        if node is source or node in found or node.op == "placeholder":
            continue
        found.add(node)
        left += node.all_input_nodes
    return tuple(sorted(found, key=order.__getitem__))


def _made_by_weights(module: GraphModule, nodes: Collection[Node]) -> set[Node]:
    """Returns the nodes whose values depend on the inputs through layers with weights."""
    fed: set[Node] = set()
    made: set[Node] = set()
    for node in nodes:
        reads = node.all_input_nodes
        if node.op == "placeholder" or any(item in fed for item in reads):
            fed.add(node)
            weighted = target_of(node) in WEIGHTED | RECURRENT | {EMBEDDING} and any(
                constant_of(module, item) is not None for item in reads
            )
            if weighted or any(item in made for item in reads):
                made.add(node)
    return made


def _is_layer(node: Node) -> bool:
    return target_of(node) in WEIGHTED
