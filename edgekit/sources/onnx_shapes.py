"""Shapes of an ONNX graph: free sizes are fixed, and the shape of every tensor is found. Runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.analysis.onnx_normal_form import graph_inputs
from edgekit.errors import ModelError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.example_inputs import fixed_shapes
from edgekit.task.input_sizes import OpenInput, with_batch_axes

if TYPE_CHECKING:
    import onnx
    import onnxruntime

LARGEST_MESSAGE: Final = 2_000_000_000
"""Protobuf messages end at 2 GiB: larger models keep their weights in a second file."""


def fix_shapes(model: onnx.ModelProto, request: CaptureRequest) -> onnx.ModelProto:
    """Returns the model with every free size fixed (see `fixed_shapes`) and all shapes known.

    Raises:
        ModelError: a size is free and nothing gives it, or the example inputs do not fit.
        UsageError: `--input` gives sizes of other inputs.
    """
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    inputs = graph_inputs(fixed)
    for value, shape in zip(inputs, fixed_shapes(open_inputs(inputs), request), strict=True):
        dims = value.type.tensor_type.shape
        del dims.dim[:]
        dims.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in shape)
        dims.SetInParent()  # a single number has a shape without sizes
    return with_shapes(fixed, request.source)


def open_inputs(inputs: Sequence[onnx.ValueInfoProto]) -> list[OpenInput]:
    """Returns what a graph says about its inputs."""
    import onnx

    kinds = [value.type.tensor_type for value in inputs]
    shapes = [
        [int(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
        if kind.HasField("shape")
        else None
        for kind in kinds
    ]
    dtypes = [onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name for kind in kinds]
    return with_batch_axes({value.name: shape for value, shape in zip(inputs, shapes, strict=True)}, dtypes)


def with_shapes(model: onnx.ModelProto, title: str) -> onnx.ModelProto:
    """Returns the model with the shape of every tensor: inferred, and where the graph computes them, from one run.

    Raises:
        ModelError: onnxruntime cannot load the model, or cannot run it and the shape of an output is not known.
    """
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    unknown = _unknown_shapes(inferred.graph)
    if not unknown or inferred.ByteSize() > LARGEST_MESSAGE:
        return inferred
    outputs = {value.name for value in inferred.graph.output}
    found = _shapes_of_a_run(inferred, unknown, title, must_run=bool(outputs & set(unknown)))
    known = {name: onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in found.items()}
    for value in inferred.graph.output:
        if value.name in known:
            value.CopyFrom(known[value.name])
    kept = [value for value in inferred.graph.value_info if value.name not in known]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend([*kept, *(known[name] for name in known if name not in outputs)])
    return inferred


def _unknown_shapes(graph: onnx.GraphProto) -> list[str]:
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


def _shapes_of_a_run(
    model: onnx.ModelProto, names: Sequence[str], title: str, *, must_run: bool
) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Returns element type and shape of tensors, as onnxruntime computes them from made-up inputs.

    Raises:
        ModelError: onnxruntime cannot load the model, or cannot run it although it must.
    """
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    listed = {value.name for value in watched.graph.output}
    # An output without a type: onnxruntime infers it.
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names if n not in listed)
    try:
        session = _session(watched)
    except Exception as error:
        raise ModelError(
            f"{title}: onnxruntime cannot load the model: {first_line(error)}\n"
            "An operator of another domain or of a newer opset is the usual cause. Export the model without it."
        ) from error
    try:
        results: Any = session.run(list(names), _made_up(model))
    except Exception as error:
        if not must_run:  # a lookup that made-up values do not fit, say: inference must do
            return {}
        raise ModelError(
            f"{title}: onnxruntime cannot run the model with inputs of {_shapes_text(model)}: {first_line(error)}\n"
            "If the graph needs other sizes, give them with --input. If it holds another batch as a constant, export "
            "it again with batch 1."
        ) from error
    return {
        name: (onnx.helper.np_dtype_to_tensor_dtype(result.dtype), result.shape)
        for name, result in zip(names, results, strict=True)
        if hasattr(result, "dtype")
    }


def _shapes_text(model: onnx.ModelProto) -> str:
    """Returns `x (1, 3, 8, 8), rate ()`."""
    shapes = {v.name: tuple(dim.dim_value for dim in v.type.tensor_type.shape.dim) for v in graph_inputs(model)}
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _made_up(model: onnx.ModelProto) -> dict[str, Any]:
    import numpy as np
    import onnx

    return {
        value.name: np.zeros(
            [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in graph_inputs(model)
    }


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def first_line(error: BaseException) -> str:
    """Returns the first line of what a library said, at most 300 characters."""
    # A message that quotes a damaged file's names may be no text: what it said is then the error's object.
    said = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    return next((line.strip()[:300] for line in said.splitlines() if line.strip()), type(error).__name__)
