"""The float ONNX graph that quantization starts from: made from any captured model, with clean names and known modules.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.onnx_activations import name_activations
from edgekit.converters.onnx_from_tensorflow import KERAS_OPSET, from_tensorflow
from edgekit.converters.onnx_scalars import fold_scalars
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, OpenSizes, TensorSpec
from edgekit.sources.onnx_names import SCOPES, module_name
from edgekit.torch_program.open_sizes import load_captured
from edgekit.torch_program.recurrent_kinds import has_projections

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from torch.export import ExportedProgram

MIN_OPSET: Final = 13
"""Oldest opset whose quantize and dequantize nodes take a scale per channel."""

_LACKS: Final = "the exporter knows no ONNX operator for"
_FOLD_LIMIT: Final = 1 << 26  # elements of a constant that is computed while converting


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFloatGraph:
    """A float ONNX model, and which module of the source each node belongs to.

    Attributes:
        model: onnx.ModelProto. Every node has a unique name; inputs and outputs are named as in the captured model.
        modules: Node name to dotted module name, as the torch program of the same source has it; the node's own name
            where the source has no modules.
    """

    model: onnx.ModelProto
    modules: Mapping[str, str]


def float_graph(captured: CapturedModel, scratch: Path, *, fold: bool = True) -> OnnxFloatGraph:
    """Returns the float ONNX graph of a captured model.

    Args:
        captured: The model.
        scratch: Folder for intermediate files.
        fold: Fold batch norms, constants and single numbers of a file that was made elsewhere, and name the activations
            that it spells out; captured programs have that behind them.

    Raises:
        ConversionError: the model has an operator that ONNX cannot hold.
    """
    if captured.kind == "pt2":
        model = _from_exported_program(captured)
    elif captured.kind == "onnx":
        model = _from_file(captured)
    else:
        model = from_tensorflow(captured)
    if captured.kind != "pt2" and fold:
        model = _folded(model, scratch)
        fold_scalars(model.graph)
        name_activations(model.graph)
    modules = _name_nodes(model.graph, module_name if captured.kind == "onnx" else _module_of)
    _strip_notes(model)
    _rename(model.graph, model.graph.input, captured.inputs)
    _rename(model.graph, model.graph.output, captured.outputs)
    if captured.open_sizes is not None:
        _name_sizes(model.graph, captured.open_sizes)
    return OnnxFloatGraph(model=model, modules=modules)


def _from_exported_program(captured: CapturedModel) -> onnx.ModelProto:
    import torch
    from onnxscript import ir, optimizer

    program = _without_projections(load_captured(captured))
    try:
        exported: Any = torch.onnx.export(program, (), dynamo=True, verbose=False)
    except Exception as error:
        raise ConversionError(
            f"{captured.source} cannot become onnx: {failure_reason(error, _LACKS, program)}. "
            "Replace that part of the model, or choose another format."
        ) from error
    model = exported.model
    # The exporter folds small constants only; an LSTM's weights and position tables are computed from larger ones.
    optimizer.fold_constants(model, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
    optimizer.remove_unused_nodes(model)
    # Folded weights are copies: the program goes, with the circles in it, before the file's weights come.
    del program, exported
    gc.collect()
    return ir.to_proto(model)


def _without_projections(program: ExportedProgram) -> ExportedProgram:
    """Returns the program with LSTMs whose states are projected written out: torch's exporter writes no valid node."""
    import torch

    targets: set[Any] = {node.target for node in program.graph.nodes if has_projections(node)}
    if not targets:
        return program
    known: Any = torch.export.default_decompositions()
    return program.run_decompositions({target: known[target] for target in targets})


def _name_sizes(graph: onnx.GraphProto, opened: OpenSizes) -> None:
    """Calls the open sizes of inputs and outputs what the user calls them; others after their output and axis."""
    for values, axes in ((graph.input, opened.inputs), (graph.output, opened.outputs)):
        for value, names in zip(values, axes, strict=True):
            for axis, name in enumerate(names):
                if name:
                    other = f"{value.name}_{axis}"
                    value.type.tensor_type.shape.dim[axis].dim_param = other if name == "*" else name


def _from_file(captured: CapturedModel) -> onnx.ModelProto:
    import onnx

    fixed = onnx.load(str(captured.path))
    for value, spec in zip(_fed(fixed.graph), captured.inputs, strict=True):
        for size, wanted in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            # Artifacts have fixed shapes; unknown sizes would keep quantization from knowing them.
            size.dim_value = wanted
    del fixed.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(_modern(fixed, captured))


def _modern(model: onnx.ModelProto, captured: CapturedModel) -> onnx.ModelProto:
    """Returns the model in an opset that has scales per channel."""
    import onnx

    version = next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), MIN_OPSET)
    if version >= MIN_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, KERAS_OPSET)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise ConversionError(
            f"{captured.source} has opset {version} and cannot be raised to {KERAS_OPSET}: "
            f"{lines[0] if lines else type(error).__name__}. Export the model again with a newer opset."
        ) from error


def _fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Returns the inputs that a user feeds: older files list weights among the inputs."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _folded(model: onnx.ModelProto, scratch: Path) -> onnx.ModelProto:
    """Returns the model after onnxruntime's basic optimizations, which use standard operators only."""
    import onnx
    import onnxruntime

    path = scratch / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.shape_inference.infer_shapes(onnx.load(str(path)))


def _name_nodes(graph: onnx.GraphProto, module_of: Callable[[onnx.NodeProto], str]) -> dict[str, str]:
    """Gives every node a unique name and returns node name to module name, as `module_of` tells it."""
    taken: set[str] = set()
    modules: dict[str, str] = {}
    for i, node in enumerate(graph.node):
        module = module_of(node)
        name = node.name or f"{node.op_type}_{i}"
        while name in taken:
            name = f"{name}_{i}"
        node.name = name
        taken.add(name)
        modules[name] = module
    return modules


def _module_of(node: onnx.NodeProto) -> str:
    """Returns the dotted name of the torch module that made a node; the node's own name where that is not recorded."""
    for prop in node.metadata_props:
        if prop.key == SCOPES:
            scopes = [str(scope) for scope in ast.literal_eval(prop.value)]
            # The last scope is the operator's own name; before it the innermost module.
            return scopes[-2] if len(scopes) > 1 else ""
    return str(node.name) or f"{node.op_type}_{node.output[0]}"


def _strip_notes(model: onnx.ModelProto) -> None:
    """Removes stack traces and paths: they bloat the file and would make its bytes depend on where it was made."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.metadata_props[:]
    graph.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    inputs = _fed(graph)
    del graph.input[:]
    graph.input.extend(inputs)


def _rename(graph: onnx.GraphProto, values: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec]) -> None:
    """Names the graph's inputs or outputs as the captured model does; a value in the way gets another name."""
    for value, spec in zip(values, specs, strict=True):
        if value.name != spec.name:
            rename_value(graph, spec.name, f"{spec.name}_inner")
            rename_value(graph, value.name, spec.name)


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Renames a value wherever the graph names it (subgraphs included). Does nothing where it does not occur."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename_value(attribute.g, old, new)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Orders the nodes so that each comes after those that it reads from; the present order decides among equals.

    Values that subgraphs read from outside count as read by the node that holds the subgraph.
    """
    waiting = list(graph.node)
    made = {name for node in waiting for name in node.output}
    done: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later: list[onnx.NodeProto] = []
        for node in waiting:
            if all(name in done or name not in made for name in _read_names(node)):
                ordered.append(node)
                done.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ConversionError(f'The ONNX graph has a cycle at the node "{waiting[0].name}".')
        waiting = later
    del graph.node[:]
    graph.node.extend(ordered)


def _read_names(node: onnx.NodeProto) -> set[str]:
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inner = attribute.g
            own = {value.name for value in (*inner.input, *inner.initializer)} | {
                o for n in inner.node for o in n.output
            }
            names |= {name for child in inner.node for name in _read_names(child)} - own
    return names
