"""Branches of an ONNX graph that the inputs' sizes decide: where one side of an If cannot take them, the other is left.

A file for two sampling rates, say, holds a branch for 512 samples and one for 256, chosen by an input. With its sizes
fixed to 512 onnxruntime refuses the whole file, since the shapes of the other branch contradict each other. That branch
could never run, so the graph holds the one that can. Runs in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import TYPE_CHECKING, Final

from edgekit.analysis.onnx_normal_form import graphs_of
from edgekit.analysis.onnx_run_shapes import LARGEST_MESSAGE

if TYPE_CHECKING:
    import onnx

SIDES: Final = ("then_branch", "else_branch")
"""What the bodies of an If are called."""

_MOST_BRANCHES: Final = 4  # of one graph that are tried together: each more triples the files that onnxruntime loads


def settle_branches(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Puts the side that fits in the place of each If of the main graph whose other side cannot take the sizes.

    Args:
        model: Its inputs have fixed sizes.

    Returns:
        The model, and what was decided, one entry an If: `If_0 (then_branch)`. The model as it came where onnxruntime
        loads it, where no choice of sides makes it load, or where two equally small choices do.
    """
    branches = [i for i, node in enumerate(model.graph.node) if node.op_type == "If"]
    if not 0 < len(branches) <= _MOST_BRANCHES or model.ByteSize() > LARGEST_MESSAGE or _loads(model):
        return model, ()
    for count in range(1, len(branches) + 1):
        choices = [
            dict(zip(places, sides, strict=True))
            for places in combinations(branches, count)
            for sides in product(SIDES, repeat=count)
        ]
        fitting = [(choice, made) for choice in choices if _loads(made := _with_sides(model, choice))]
        if fitting:
            choice, made = fitting[0]
            words = tuple(f"{_label(model.graph.node[i])} ({side})" for i, side in choice.items())
            return (made, words) if len(fitting) == 1 else (model, ())
    return model, ()


def _label(node: onnx.NodeProto) -> str:
    return str(node.name or node.output[0])


def _loads(model: onnx.ModelProto) -> bool:
    """Returns whether onnxruntime accepts the shapes of a model, those that its own optimizations find out too."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Fail:
        return False
    return True


def _with_sides(model: onnx.ModelProto, choice: Mapping[int, str]) -> onnx.ModelProto:
    """Returns the model with these nodes, by their place, replaced by one of their sides."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = list(model.graph.node)
    del made.graph.node[:]
    for i, node in enumerate(nodes):
        if i in choice:
            _place(made.graph, node, choice[i])
        else:
            made.graph.node.add().CopyFrom(node)
    return made


def _place(graph: onnx.GraphProto, branch: onnx.NodeProto, side: str) -> None:
    """Appends the nodes and weights of a side."""
    import onnx

    body = side_of(branch, side)
    graph.node.extend(body.node)
    graph.initializer.extend(body.initializer)
    graph.value_info.extend(body.value_info)
    for value, output in zip(body.output, branch.output, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [value.name], [output], name=f"{output}/{side}"))


def side_of(branch: onnx.NodeProto, side: str) -> onnx.GraphProto:
    """Returns a side of an If whose values have names of their own: those of another If's side may be the same."""
    import onnx

    body = onnx.GraphProto()
    body.CopyFrom(next(item.g for item in branch.attribute if item.name == side))
    parts = list(graphs_of(body))
    made = [name for part in parts for node in part.node for name in node.output if name]
    given = [value.name for part in parts for value in (*part.input, *part.initializer)]
    names = {name: f"{branch.output[0]}/{side}/{name}" for name in (*made, *given)}
    for part in parts:
        for value in (*part.input, *part.output, *part.value_info, *part.initializer):
            value.name = names.get(value.name, value.name)
        for node in part.node:
            for values in (node.input, node.output):
                values[:] = [names.get(name, name) for name in values]
    return body
