"""One spelling of what ONNX exporters of all ages write: weights apart from inputs, free sizes free, no functions.

Runs in a worker process; onnx is imported late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx

DOMAINS: Final = ("", "ai.onnx")
"""The two names of the standard's own operator set."""

SEPARATE_WEIGHTS_IR: Final = 4
"""First version of the file format whose weights need not be listed among the inputs."""


def bring_into_normal_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the ModelProto in one spelling; the one that was given may be changed.

    Weights are not listed among the inputs (before IR 4 they had to be); a size of -1 or 0, which some exporters write
    for a free one, is free; functions are replaced by their nodes; the standard's operator set has one name.
    """
    from onnx import inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    inputs = graph_inputs(model)
    if len(inputs) != len(graph.input):
        model.ir_version = max(model.ir_version, SEPARATE_WEIGHTS_IR)
        kept = [_copy(value) for value in inputs]
        del graph.input[:]
        graph.input.extend(kept)
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and size.dim_value <= 0:
                size.ClearField("dim_value")
    for node in nodes_of(graph):
        if node.domain == "ai.onnx":
            node.domain = ""
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""
    return model


def check_types(model: onnx.ModelProto, title: str) -> None:
    """Checks that every tensor is of a type that the installed onnx knows; its own checker takes any number.

    Raises:
        ModelError: one is not.
    """
    import onnx

    known = set(onnx.TensorProto.DataType.values())
    for graph in graphs_of(model.graph):
        values = (*graph.input, *graph.output, *graph.value_info)
        kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        for name, kind in kinds.items():
            if kind not in known:
                raise ModelError(
                    f'{title}: the tensor "{name}" is of type number {kind}, which onnx {onnx.__version__} does not '
                    "know. The file is damaged, or of a newer onnx: copy or export it again."
                )


def _copy(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    from onnx import ValueInfoProto

    copy = ValueInfoProto()
    copy.CopyFrom(value)
    return copy


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Returns the inputs that a caller gives: old exporters list the weights among them."""
    weights = {
        tensor.name for tensor in (*model.graph.initializer, *(s.values for s in model.graph.sparse_initializer))
    }
    return [value for value in model.graph.input if value.name not in weights]


def bodies_of(node: onnx.NodeProto) -> list[tuple[str, Any]]:
    """Returns attribute name and GraphProto of the bodies of an If, a Loop or a Scan."""
    return [(attribute.name, attribute.g) for attribute in node.attribute if attribute.HasField("g")]


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields the nodes of a graph and of the bodies inside them."""
    for node in graph.node:
        yield node
        for _, body in bodies_of(node):
            yield from nodes_of(body)


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yields a graph and the bodies inside it, at any depth."""
    yield graph
    for node in graph.node:
        for _, body in bodies_of(node):
            yield from graphs_of(body)


def opset_of(model: onnx.ModelProto) -> int:
    """Returns the version of the standard's operator set, 0 where the file names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in DOMAINS), 0)
