"""Imports an ONNX graph with fixed shapes into a torch module. Runs in a worker that has torch and onnx.

The graph is walked once with example values. What does not depend on the inputs is computed on the way, so that graphs
that compute shapes (Shape, Gather, Concat, Reshape) leave nothing behind; every other node becomes a small module,
whose name converters and recipes see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.graph_damage import damage_named
from edgekit.analysis.onnx_normal_form import bring_into_normal_form, nodes_of, opset_of
from edgekit.errors import ModelError
from edgekit.sources.onnx_branches import SIDES, side_of
from edgekit.sources.onnx_names import module_name
from edgekit.sources.onnx_to_torch.arithmetic import torch_dtype
from edgekit.sources.onnx_to_torch.loops import MOST_TURNS, body_of, turn_of
from edgekit.sources.onnx_to_torch.node import Function, Node, UnsupportedError
from edgekit.sources.onnx_to_torch.table import OPERATORS

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from edgekit.sources.onnx_to_torch.step_module import ImportedModule
_OPSETS: Final = range(11, 27)
_CONVERTED_TO: Final = 17
"""Opset that graphs of older ones are raised to."""
_SHAPE_ONLY: Final = frozenset({"Shape", "Size", "EyeLike"})
"""Operators that read nothing but the shape of their input: constant, because shapes are fixed."""


@final
@dataclass(slots=True)
class _Graph:
    """A graph while it is walked.

    Attributes:
        title: What the user wrote, for messages.
        opset: Version of the operator set.
        module: Where steps are added.
        values: Example value of each tensor by name.
        constant: Names of tensors that do not depend on the inputs.
        readers: How many nodes and outputs read each tensor.
    """

    title: str
    opset: int
    module: ImportedModule
    values: dict[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    constant: set[str] = field(default_factory=set[str])
    readers: dict[str, int] = field(default_factory=dict[str, int])


def import_model(model: onnx.ModelProto, title: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Returns the model as a torch module whose forward takes its inputs in order, and example inputs.

    Args:
        model: ModelProto whose inputs have fixed shapes.
        title: What the user wrote, for messages.

    Raises:
        ModelError: an operator set or operators that the importer does not know, all named at once; or a node that uses
            an operator in a way torch cannot.
    """
    import torch

    from edgekit.sources.onnx_to_torch.step_module import ImportedModule

    model = _modern(bring_into_normal_form(model), title)
    opset = opset_of(model)
    _check_operators(model, title)
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    outputs = [value.name for value in model.graph.output]
    graph = _Graph(title=title, opset=opset, module=ImportedModule(names, outputs))
    with damage_named(title):
        for tensor in model.graph.initializer:
            graph.values[tensor.name] = to_torch(tensor)
            graph.constant.add(tensor.name)
        examples = tuple(_example(value) for value in model.graph.input if value.name not in weights)
    graph.values |= dict(zip(names, examples, strict=True))
    for name in (*(name for node in model.graph.node for name in node.input), *outputs):
        graph.readers[name] = graph.readers.get(name, 0) + 1
    with torch.no_grad():
        for node in model.graph.node:
            _walk(node, graph)
    for name in outputs:
        if name in graph.constant:
            graph.module.add_constant(name, graph.values[name])
    return graph.module.eval(), examples


def to_torch(tensor: onnx.TensorProto) -> Tensor:
    """Returns a TensorProto as a torch tensor; float16 and bfloat16 become float32, in which models are captured."""
    import torch
    from onnx import numpy_helper

    # A copy: the array is a read-only view of the message.
    return torch.from_numpy(numpy_helper.to_array(tensor).astype(_numpy_dtype(tensor.data_type), copy=True))


def _numpy_dtype(code: int) -> str:
    return str(torch_dtype(code)).removeprefix("torch.")


def _example(value: onnx.ValueInfoProto) -> Tensor:
    """Returns an example for an input: random floats, integer zeros."""
    import torch

    kind = value.type.tensor_type
    shape = [int(dim.dim_value) for dim in kind.shape.dim]
    dtype = torch_dtype(kind.elem_type)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.zeros(shape, dtype=dtype)


def _modern(model: onnx.ModelProto, title: str) -> onnx.ModelProto:
    """Returns the model in an opset that the importer knows.

    Raises:
        ModelError: it is newer, or older and cannot be raised.
    """
    from onnx import version_converter

    opset = opset_of(model)
    reason = ""
    if 0 < opset < _OPSETS[0]:
        try:
            return version_converter.convert_version(model, _CONVERTED_TO)
        except Exception as error:  # C++: RuntimeError, or an error class of the converter's own
            lines = str(error).strip().splitlines()
            reason = f" and cannot be raised to {_CONVERTED_TO}: {lines[0] if lines else type(error).__name__}"
    if opset in _OPSETS:
        return model
    raise ModelError(
        f"{title} uses ONNX opset {opset}{reason}; the importer into torch knows {_OPSETS[0]} to {_OPSETS[-1]}. Export "
        f"it again with one of these, or give the model that the file was made from. Format onnx needs no import."
    )


def _check_operators(model: onnx.ModelProto, title: str) -> None:
    unknown: dict[str, list[str]] = {}
    for node in nodes_of(model.graph):
        if node.domain or node.op_type not in (*OPERATORS, "If", "Loop"):
            kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            unknown.setdefault(kind, []).append(node.name or node.output[0])
    if unknown:
        named = ", ".join(f"{kind} ({_places(names)})" for kind, names in sorted(unknown.items()))
        raise ModelError(
            f"{title} holds operators that the importer into torch does not know: {named}. "
            "Export to format onnx, which needs no import; or rebuild these parts from other operators; or give the "
            "model that the file was made from."
        )


def _places(names: Sequence[str]) -> str:
    """Returns where an operator stands: `node "a"`, `nodes "a", "b" and 7 more`."""
    shown = ", ".join(f'"{name}"' for name in names[:2])
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"node{'s' if len(names) > 1 else ''} {shown}{more}"


def _walk(proto: onnx.NodeProto, graph: _Graph) -> None:
    """Runs one node: its outputs become constants, or a step of the module."""
    if proto.op_type in ("If", "Loop"):
        (_walk_branch if proto.op_type == "If" else _walk_loop)(proto, graph)
        return
    if _absorb_bias(proto, graph):
        return
    node = _view(proto, graph)
    try:
        function = OPERATORS[proto.op_type](node)
        outputs = _run(function, node)
    except UnsupportedError as error:
        raise ModelError(_cannot(proto, graph, str(error))) from error
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(_cannot(proto, graph, f"torch cannot run it ({first})")) from error
    given = [name for name in proto.input if name]
    constant = all(name in graph.constant for name in given) or proto.op_type in _SHAPE_ONLY
    for name, value in zip(proto.output, outputs, strict=False):
        if name:
            graph.values[name] = value
            if constant:
                graph.constant.add(name)
    if not constant:
        _add_step(proto, node, function, graph)


def _cannot(proto: onnx.NodeProto, graph: _Graph, reason: str) -> str:
    name = f' "{proto.name}"' if proto.name else f" that makes {proto.output[0]}"
    return (
        f"{graph.title}: the {proto.op_type} node{name} cannot be imported into torch: {reason}. "
        "Export to format onnx, which needs no import, or give the model that the file was made from."
    )


def _view(proto: onnx.NodeProto, graph: _Graph) -> Node:
    return Node(
        operator=proto.op_type,
        attributes=_attributes(proto),
        inputs=[graph.values[name] if name else None for name in proto.input],
        constant=[not name or name in graph.constant for name in proto.input],
        outputs=max((i + 1 for i, name in enumerate(proto.output) if name and graph.readers.get(name)), default=1),
        opset=graph.opset,
    )


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = to_torch(value)
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [item.decode() for item in value]
        found[attribute.name] = value
    return found


def _run(function: Function, node: Node) -> tuple[Tensor, ...]:
    inputs = [None if i in node.baked else node.weights.get(i, value) for i, value in enumerate(node.inputs)]
    result = function(*inputs)
    return result if isinstance(result, tuple) else (result,)


def _walk_branch(proto: onnx.NodeProto, graph: _Graph) -> None:
    """Walks the side of an If that a constant condition names; else both sides, of which the condition chooses.

    Raises:
        ModelError: the sides make tensors of different shapes.
    """
    from onnx import helper

    condition = proto.input[0]
    if condition in graph.constant:
        side = "then_branch" if bool(graph.values[condition].item()) else "else_branch"
        for inner, outer in zip(_walk_side(proto, side, graph), proto.output, strict=True):
            _call_also(outer, inner, graph)
        return
    results = [_walk_side(proto, side, graph) for side in SIDES]
    for output, first, second in zip(proto.output, *results, strict=True):
        one, other = (tuple(graph.values[name].shape) for name in (first, second))
        if one != other:
            reason = f"its condition depends on the model's inputs, and its sides make tensors of {one} and {other}"
            raise ModelError(_cannot(proto, graph, reason))
        _walk(helper.make_node("Where", [condition, first, second], [output], name=f"{output}/Where"), graph)


def _walk_side(proto: onnx.NodeProto, side: str, graph: _Graph) -> list[str]:
    """Walks a side of an If and returns what its results are called."""
    body = side_of(proto, side)
    for tensor in body.initializer:
        graph.values[tensor.name] = to_torch(tensor)
        graph.constant.add(tensor.name)
    results = [str(value.name) for value in body.output]
    _walk_all(body.node, results, graph)
    return results


def _walk_all(nodes: Sequence[onnx.NodeProto], results: Sequence[str], graph: _Graph) -> None:
    """Walks the nodes of a body whose results are read outside."""
    for name in (*(name for node in nodes for name in node.input), *results):
        graph.readers[name] = graph.readers.get(name, 0) + 1
    for node in nodes:
        _walk(node, graph)


def _call_also(outer: str, inner: str, graph: _Graph) -> None:
    """Gives a tensor another name."""
    if not outer:
        return
    graph.values[outer] = graph.values[inner]
    if inner in graph.constant:
        graph.constant.add(outer)
    else:
        graph.module.add_alias(outer, inner)


def _walk_loop(proto: onnx.NodeProto, graph: _Graph) -> None:
    """Walks the body of a Loop as often as it runs, which must not depend on the inputs.

    Raises:
        ModelError: it does, or the loop runs too often to be written out, or never and collects something.
    """
    import torch

    body, label = body_of(proto), proto.name or proto.output[0]
    kept = {tensor.name: f"{label}/{tensor.name}" for tensor in body.initializer}
    for tensor in body.initializer:
        graph.values[kept[tensor.name]] = to_torch(tensor)
    graph.constant.update(kept.values())
    going, carried = f"{label}/begins", list(proto.input[2:])
    _call_also(going, proto.input[1], graph) if proto.input[1] else _add_constant(going, torch.tensor(True), graph)
    collected: list[list[str]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    turn = 0
    with graph.module.shared_weights():
        while _known(going, proto, graph) and (not proto.input[0] or turn < _known(proto.input[0], proto, graph)):
            if turn == MOST_TURNS:
                raise ModelError(_cannot(proto, graph, f"it runs more than {MOST_TURNS} times"))
            number = f"{label}/{turn}"
            _add_constant(number, torch.tensor(turn), graph)
            nodes, results = turn_of(body, [number, going, *carried], kept, number)
            _walk_all(nodes, results, graph)
            going, carried = results[0], results[1 : 1 + len(carried)]
            for names, name in zip(collected, results[1 + len(carried) :], strict=True):
                names.append(name)
            turn += 1
    for outer, inner in zip(proto.output, carried, strict=False):
        _call_also(outer, inner, graph)
    for outer, names in zip(proto.output[len(carried) :], collected, strict=True):
        _collect(proto, outer, names, graph)


def _collect(proto: onnx.NodeProto, output: str, names: Sequence[str], graph: _Graph) -> None:
    """Joins what the turns of a loop gave, along a new first axis."""
    import torch
    from onnx import helper

    if not output:
        return
    if not names:
        raise ModelError(_cannot(proto, graph, "it never runs, and collects values"))
    shape = f"{output}/shape"
    _add_constant(shape, torch.tensor([1, *graph.values[names[0]].shape]), graph)
    rows = [f"{output}/{turn}" for turn in range(len(names))]
    nodes = [helper.make_node("Reshape", [name, shape], [row], name=row) for name, row in zip(names, rows, strict=True)]
    nodes.append(helper.make_node("Concat", rows, [output], name=f"{output}/Concat", axis=0))
    _walk_all(nodes, [], graph)


def _add_constant(name: str, value: Tensor, graph: _Graph) -> None:
    graph.values[name] = value
    graph.constant.add(name)


def _known(name: str, loop: onnx.NodeProto, graph: _Graph) -> int:
    """Returns a number that decides how often a loop runs.

    Raises:
        ModelError: it depends on the model's inputs.
    """
    if name not in graph.constant:
        raise ModelError(_cannot(loop, graph, "how often it runs depends on the model's inputs"))
    return int(graph.values[name].item())


def _absorb_bias(proto: onnx.NodeProto, graph: _Graph) -> bool:
    """Makes an Add of a constant vector behind a linear layer that layer's bias; returns whether it did."""
    if proto.op_type != "Add":
        return False
    for product, bias in (tuple(proto.input), tuple(reversed(proto.input))):
        value: Any = graph.values.get(bias)
        layer = graph.module.linear_layer(product)
        if layer is None or bias not in graph.constant or graph.readers[product] != 1:
            continue
        if value.ndim != 1 or value.shape[0] != graph.values[product].shape[-1]:
            continue
        layer.set_bias(value)
        graph.module.add_alias(proto.output[0], product)
        graph.values[proto.output[0]] = graph.values[product] + value
        return True
    return False


def _add_step(proto: onnx.NodeProto, node: Node, function: Function, graph: _Graph) -> None:
    stored: dict[int, Any] = {}
    for i, name in enumerate(proto.input):
        if name and node.is_constant[i] and i not in node.baked:
            stored[i] = node.weights.get(i, node.inputs[i])
    dynamic = {i: name for i, name in enumerate(proto.input) if name and i not in stored and i not in node.baked}
    graph.module.add_step(
        name=module_name(proto),
        operator=proto.op_type,
        function=function,
        inputs=dynamic,
        constants=stored,
        arity=len(proto.input),
        outputs=list(proto.output),
    )
