"""The body of an ONNX Loop as the nodes of one turn: names inside it are its own, those around it stay.

Runs in a worker that has onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

MOST_TURNS: Final = 512
"""Turns of one loop that are written out; each repeats the operators of its body."""


def body_of(loop: onnx.NodeProto) -> onnx.GraphProto:
    """Returns the body of a Loop."""
    import onnx

    body: onnx.GraphProto = next(
        onnx.helper.get_attribute_value(item) for item in loop.attribute if item.name == "body"
    )
    return body


def turn_of(
    body: onnx.GraphProto, given: Sequence[str], kept: Mapping[str, str], prefix: str
) -> tuple[list[onnx.NodeProto], list[str]]:
    """Returns the nodes of one turn, and the names of what it gives.

    Args:
        body: Inputs: the number of the turn, whether it goes on, what is carried. Outputs: whether it goes on, what is
            carried, what is collected.
        given: Names outside, for the body's inputs in order.
        kept: Names of the body's own constants to their names outside.
        prefix: Begins the names of what the turn computes.
    """
    names = {**kept, **dict(zip((value.name for value in body.input), given, strict=True))}
    nodes: list[onnx.NodeProto] = []
    for node in body.node:
        copied = _renamed(node, names)
        for place, output in enumerate(node.output):
            if output:
                names[output] = f"{prefix}/{output}"
                copied.output[place] = names[output]
        nodes.append(copied)
    return nodes, [names.get(value.name, str(value.name)) for value in body.output]


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Returns a copy that reads the new names, in its own bodies too."""
    import onnx

    made = onnx.NodeProto()
    made.CopyFrom(node)
    for place, name in enumerate(node.input):
        made.input[place] = names.get(name, name)
    for attribute in made.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = attribute.g
            own = {value.name for value in (*inner.input, *inner.initializer)}
            own |= {output for item in inner.node for output in item.output}
            outside = {name: other for name, other in names.items() if name not in own}
            nodes = [_renamed(item, outside) for item in inner.node]
            del inner.node[:]
            inner.node.extend(nodes)
            for value in inner.output:
                value.name = outside.get(value.name, value.name)
    return made
