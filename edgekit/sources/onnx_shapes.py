"""Shapes of an ONNX graph: free sizes are fixed, and the shape of every tensor is found. Runs in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.analysis.onnx_normal_form import graph_inputs
from edgekit.analysis.onnx_run_shapes import (
    LARGEST_MESSAGE,
    FoundShapes,
    declare_shapes,
    shapes_of_a_run,
    unknown_shapes,
    watching_session,
    zeros,
)
from edgekit.errors import ModelError
from edgekit.plain_text import first_line
from edgekit.sources.base import CaptureRequest
from edgekit.sources.example_inputs import fixed_shapes, gather
from edgekit.sources.onnx_branches import settle_branches
from edgekit.task.input_sizes import OpenInput, with_batch_axes

if TYPE_CHECKING:
    import onnx


def fix_shapes(model: onnx.ModelProto, request: CaptureRequest) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Returns the model with every free size fixed (see `fixed_shapes`) and all shapes known.

    Returns:
        The model, and the branches that its sizes decide (see `settle_branches`).

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
    fixed, settled = settle_branches(fixed)
    names = [value.name for value in inputs]
    return with_shapes(fixed, request.source, lambda: gather(request, names)), settled


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


def with_shapes(
    model: onnx.ModelProto, title: str, examples: Callable[[], Sequence[Any] | None] = lambda: None
) -> onnx.ModelProto:
    """Returns the model with the shape of every tensor: inferred, and where the graph computes them, from one run.

    Args:
        model: Its inputs have fixed shapes.
        title: The file, for messages.
        examples: Gives the user's example inputs, where there are any: a branch may hang on a value.

    Raises:
        ModelError: onnxruntime cannot load the model, or cannot run it and the shape of an output is not known.
    """
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    unknown = unknown_shapes(inferred.graph)
    if not unknown or inferred.ByteSize() > LARGEST_MESSAGE:
        return inferred
    outputs = {value.name for value in inferred.graph.output}
    found = _shapes_of_a_run(inferred, unknown, title, examples(), must_run=bool(outputs & set(unknown)))
    declare_shapes(inferred, found)
    return inferred


def _shapes_of_a_run(
    model: onnx.ModelProto, names: Sequence[str], title: str, examples: Sequence[Any] | None, *, must_run: bool
) -> FoundShapes:
    """Returns element type and shape of tensors, as onnxruntime computes them from examples, else from zeros.

    Raises:
        ModelError: onnxruntime cannot load the model, or cannot run it although it must.
    """
    try:
        session = watching_session(model, names)
    except Exception as error:
        raise ModelError(
            f"{title}: onnxruntime cannot load the model: {first_line(error)}\n"
            "An operator of another domain or of a newer opset is the usual cause. Export the model without it."
        ) from error
    try:
        return shapes_of_a_run(session, names, _fed(model, examples))
    except Exception as error:
        if not must_run:  # a lookup that made-up values do not fit, say: inference must do
            return {}
        raise ModelError(
            f"{title}: onnxruntime cannot run the model with inputs of {_shapes_text(model)}: {first_line(error)}\n"
            "If the graph needs other sizes, give them with --input. If it holds another batch as a constant, export "
            "it again with batch 1."
        ) from error


def _shapes_text(model: onnx.ModelProto) -> str:
    """Returns `x (1, 3, 8, 8), rate ()`."""
    shapes = {v.name: tuple(dim.dim_value for dim in v.type.tensor_type.shape.dim) for v in graph_inputs(model)}
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _fed(model: onnx.ModelProto, examples: Sequence[Any] | None) -> dict[str, Any]:
    """Returns values of the inputs: the examples that have their shapes, else zeros."""
    import numpy as np

    made = zeros(model)
    if examples is None or len(examples) != len(made):
        return made
    given = {name: np.asarray(example) for name, example in zip(made, examples, strict=True)}
    fits = {name: array for name, array in given.items() if array.size == made[name].size}
    return {**made, **{name: array.reshape(made[name].shape).astype(made[name].dtype) for name, array in fits.items()}}
