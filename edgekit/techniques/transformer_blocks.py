"""Finds what a transformer is made of in a captured graph: residual blocks, layers, attention and its heads.

Nothing is known but the graph. A residual block is an addition of a value and of what was computed from that value. A
layer is the blocks from one that holds a softmax up to the next such one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.fx import GraphModule

_SOFTMAX: Final = frozenset({"softmax", "_softmax", "_safe_softmax"})
_SDPA: Final = "scaled_dot_product_attention"
_PRODUCTS: Final = frozenset({"matmul", "bmm"})
_RESHAPES: Final = frozenset({"reshape", "view", "_unsafe_view"})
_SCALARS: Final = frozenset({"mul", "div", "add", "masked_fill", "where", "maximum", "contiguous", "clone"})
_MOVES: Final = frozenset({"transpose", "permute"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a transformer that may be left out: what reads `end` may read `start` instead.

    Attributes:
        start: Node of the value that goes in.
        end: Node of the value that comes out, of the same shape and type.
        attends: It holds an attention.
    """

    start: Node
    end: Node
    attends: bool

    @property
    def title(self) -> str:
        """The module in which it ends, or the name of its last node."""
        stack = list(self.end.meta.get("nn_module_stack", {}).values())
        return str(stack[-1][0]) if stack and stack[-1][0] else str(self.end.name)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """An attention whose heads can be cut out.

    Attributes:
        sources: The linear layers that make its queries, keys and values.
        reshapes: The reshapes that split their outputs into heads, in the order of `sources`.
        joined: The reshape that puts the heads together again.
        out: The linear layer that reads them.
        heads: How many there are.
        width: Channels of a head.
    """

    sources: tuple[Node, Node, Node]
    reshapes: tuple[Node, Node, Node]
    joined: Node
    out: Node
    heads: int
    width: int


def find_parts(graph_module: GraphModule, unit: Literal["layer", "block"]) -> tuple[Part, ...]:
    """Returns the residual blocks in order of execution, or the layers that they form."""
    blocks = [found for node in graph_module.graph.nodes if (found := _block(node)) is not None]
    additions = {block.end for block in blocks}
    if any(operator_name(block.start) == "layer_norm" and block.start.args[0] in additions for block in blocks):
        blocks = [replace(block, end=_after_norm(block.end)) for block in blocks]
    if unit == "block":
        return tuple(blocks)
    layers: list[Part] = []
    for block in blocks:
        if not block.attends and layers and layers[-1].end is block.start:
            layers[-1] = Part(start=layers[-1].start, end=block.end, attends=layers[-1].attends)
        else:
            layers.append(block)
    return tuple(layer for layer in layers if layer.attends)


def find_attentions(graph_module: GraphModule) -> tuple[tuple[Attention, ...], tuple[str, ...]]:
    """Returns the attentions whose heads can be cut out, and for each other one the reason, with its node's name."""
    found: list[Attention] = []
    reasons: list[str] = []
    for node in graph_module.graph.nodes:
        operands = _operands(node)
        if operands is None:
            continue
        try:
            found.append(_attention(graph_module, node, operands))
        except LookupError as error:
            reasons.append(f"{node.name}: {error.args[0]}")
    return tuple(found), tuple(reasons)


def _block(node: Node) -> Part | None:
    """Returns the residual block that ends with an addition, None where that is another one."""
    if operator_name(node) != "add" or len(node.args) < 2 or not all(map(is_node, node.args[:2])):
        return None
    shape = _shape(node)
    if len(shape) != 3 or any(_shape(item) != shape for item in node.args[:2]):
        return None
    for start, branch in (node.args[:2], node.args[1::-1]):
        between = _between(start, branch)
        if any(operator_name(item) == "linear" for item in between):
            attends = any(operator_name(item) in _SOFTMAX or operator_name(item) == _SDPA for item in between)
            return Part(start=start, end=node, attends=attends)
    return None


def _after_norm(addition: Node) -> Node:
    """Returns the normalization that alone reads an addition, where blocks end with one; else the addition."""
    users = list(addition.users)
    return users[0] if len(users) == 1 and operator_name(users[0]) == "layer_norm" else addition


def _between(start: Node, end: Node) -> set[Node]:
    """Returns the nodes on the ways from `start` to `end`, `end` with them; empty where there is no way."""
    after = _reached([start], lambda node: list(node.users))
    if end not in after:
        return set()
    return (_reached([end], lambda node: node.all_input_nodes) & after) - {start}


def _reached(first: Sequence[Node], following: Callable[[Node], Iterable[Node]]) -> set[Node]:
    seen, waiting = set(first), list(first)
    while waiting:
        for node in following(waiting.pop()):
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return seen


def _operands(node: Node) -> tuple[Node, Node, Node] | None:
    """Returns queries (.., T, D), keys (.., S, D) or (.., D, S) and values (.., S, D) that an attention multiplies."""
    if operator_name(node) == _SDPA:
        return tuple(node.args[:3])
    if operator_name(node) not in _PRODUCTS or operator_name(node.args[0]) not in _SOFTMAX:
        return None
    scores = node.args[0].args[0]
    while operator_name(scores) in _SCALARS:
        wide = [item for item in scores.all_input_nodes if _shape(item) == _shape(scores)]
        if len(wide) != 1:
            break
        scores = wide[0]
    if operator_name(scores) not in _PRODUCTS:
        return None
    return scores.args[0], scores.args[1], node.args[1]


def _attention(graph_module: GraphModule, product: Node, operands: tuple[Node, Node, Node]) -> Attention:
    """Returns an attention.

    Raises:
        LookupError: its heads cannot be distinguished, with the reason.
    """
    split = [_split(graph_module, operand) for operand in operands]
    heads, width = _shape(split[0][1])[2:]
    if any(_shape(reshape)[2:] != (heads, width) for _, reshape in split):
        raise LookupError("queries, keys and values do not have the same heads")
    transposed = _only_user(product)
    if operator_name(transposed) not in _MOVES or _shape(transposed)[2:] != (heads, width):
        raise LookupError("its heads are not put side by side by a transposition")
    joined = _only_user(transposed)
    while operator_name(joined) in ("contiguous", "clone"):
        joined = _only_user(joined)
    out = _only_user(joined)
    if operator_name(joined) not in _RESHAPES or _shape(joined)[-1] != heads * width:
        raise LookupError("its heads are not put together by a reshape")
    if operator_name(out) != "linear" or attribute(graph_module, out.args[1]) is None:
        raise LookupError("no linear layer with constant weights reads its heads")
    inside = set().union(*(_between(reshape, product) for _, reshape in split)) | {reshape for _, reshape in split}
    for node in inside:
        _check_inside(node, inside, heads)
    return Attention(
        sources=(split[0][0], split[1][0], split[2][0]),
        reshapes=(split[0][1], split[1][1], split[2][1]),
        joined=joined,
        out=out,
        heads=heads,
        width=width,
    )


def _split(graph_module: GraphModule, operand: Node) -> tuple[Node, Node]:
    """Returns the linear layer that makes an operand and the reshape (1, T, H, D) that splits it into heads."""
    node = operand
    while operator_name(node) in _MOVES | _SCALARS:
        node = node.args[0]
    if operator_name(node) not in _RESHAPES or len(_shape(node)) != 4:
        raise LookupError("its heads are not split off by a reshape to (1, tokens, heads, width)")
    source = node.args[0]
    if operator_name(source) != "linear" or attribute(graph_module, source.args[1]) is None or len(source.users) != 1:
        raise LookupError("its queries, keys and values do not come from a linear layer each")
    if _shape(source)[-1] != _shape(node)[2] * _shape(node)[3]:
        raise LookupError("its heads are not split off by a reshape to (1, tokens, heads, width)")
    return source, node


def _check_inside(node: Node, inside: set[Node], heads: int) -> None:
    """Checks that a node works on each head by itself, with nothing that knows how many heads there are."""
    name = operator_name(node)
    if name not in _MOVES | _SCALARS | _PRODUCTS | _SOFTMAX | _RESHAPES | {_SDPA}:
        raise LookupError(f"{name} works on its heads, and nobody knows whether on each by itself")
    for item in node.all_input_nodes:
        shape = _shape(item)
        if item not in inside and name not in _RESHAPES and len(shape) >= 3 and shape[-3] == heads > 1:
            raise LookupError(f"{item.name} holds values for each head")


def _only_user(node: Node) -> Node:
    users = list(node.users)
    if len(users) != 1:
        raise LookupError("its values are read by more than one operator")
    return users[0]


def _shape(node: Node) -> tuple[int, ...]:
    value: Any = node.meta.get("val") if is_node(node) else None
    return tuple(int(size) for size in value.shape) if hasattr(value, "shape") else ()
