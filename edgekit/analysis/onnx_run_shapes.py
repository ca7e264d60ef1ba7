"""Shapes of an ONNX graph that only a run tells: sizes that it computes, and operators that onnx does not know.

Runs in a worker process; onnx and onnxruntime are imported late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.analysis.onnx_normal_form import graph_inputs

if TYPE_CHECKING:
    import onnx
    import onnxruntime

LARGEST_MESSAGE: Final = 2_000_000_000
"""Protobuf messages end at 2 GiB: larger models keep their weights in a second file."""

FoundShapes = Mapping[str, tuple[int, tuple[int, ...]]]
"""Element type and shape of tensors by name."""


def unknown_shapes(graph: onnx.GraphProto) -> list[str]:
    """Returns the names of the tensors that nodes of the main graph write and whose shape is not known whole."""
    known = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.WhichOneof("value") not in (None, "tensor_type")
        or (
            value.type.tensor_type.HasField("shape")
            and all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
        )
    }
    return [name for node in graph.node for name in node.output if name and name not in known]


def watching_session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """Returns a session of the model, not optimized, that gives these tensors too; what onnxruntime raises passes."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    listed = {value.name for value in watched.graph.output}
    # An output without a type: onnxruntime infers it.
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names if n not in listed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])


def shapes_of_a_run(
    session: onnxruntime.InferenceSession, names: Sequence[str], inputs: Mapping[str, Any]
) -> FoundShapes:
    """Returns the shapes of these tensors on these inputs; what onnxruntime raises passes."""
    import onnx

    results: Any = session.run(list(names), dict(inputs))
    return {
        name: (onnx.helper.np_dtype_to_tensor_dtype(result.dtype), result.shape)
        for name, result in zip(names, results, strict=True)
        if hasattr(result, "dtype")
    }


def declare_shapes(model: onnx.ModelProto, found: FoundShapes) -> None:
    """Writes shapes into the model."""
    import onnx

    known = {name: onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in found.items()}
    outputs = {value.name for value in model.graph.output}
    for value in model.graph.output:
        if value.name in known:
            value.CopyFrom(known[value.name])
    kept = [value for value in model.graph.value_info if value.name not in known]
    del model.graph.value_info[:]
    model.graph.value_info.extend([*kept, *(known[name] for name in known if name not in outputs)])


def zeros(model: onnx.ModelProto) -> dict[str, Any]:
    """Returns zeros for the inputs, whose shapes are fixed."""
    import numpy as np
    import onnx

    return {
        value.name: np.zeros(
            [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in graph_inputs(model)
    }


def add_shapes_of_a_run(model: onnx.ModelProto) -> None:
    """Writes the shapes that inference left open into the model, where it runs on zeros; else they stay open."""
    unknown = unknown_shapes(model.graph)
    if not unknown or model.ByteSize() > LARGEST_MESSAGE:
        return
    try:
        found = shapes_of_a_run(watching_session(model, unknown), unknown, zeros(model))
    except Exception:  # whatever a runtime says about a file that is only to be costed: its notes tell what is open
        return
    declare_shapes(model, found)
