"""The source `.onnx`: an ONNX graph. Runs onnx, in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import ModelError
from edgekit.model import SourceKind, TensorSpec
from edgekit.sources.base import CaptureRequest, Source
from edgekit.torch_program.architecture import Architecture, judge
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.layout import guess_layout
from edgekit.workers.worker import Progress

FILE_NAME: Final = "float.onnx"
_LARGEST_MESSAGE: Final = 2_000_000_000
"""Protobuf messages end at 2 GiB: larger models keep their weights in a second file."""

_QUANTIZED: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
    | {"MatMulInteger", "MatMulNBits", "QGemm", "QLinearAdd", "GatherBlockQuantized"}
)


@final
class OnnxFileSource(Source):
    """Checks the graph and fixes its shapes; keeps it as ONNX, or imports it into torch where that is asked for."""

    kind: ClassVar[SourceKind] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)  # such files have no signature
    extra: ClassVar[str] = "onnx"
    needs: ClassVar[Mapping[str, str]] = {"onnx": "onnx", "onnxruntime": "onnxruntime"}

    def why_not(self, target: str) -> str | None:  # noqa: ARG002  the contract's argument
        """Every format: ONNX directly, the others through torch where the importer knows the operators."""
        return None

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """Writes `float.onnx` with fixed shapes, or `float.pt2` where `request.as_torch` is set."""
        progress("reading the graph", None)
        model = fix_shapes(load(request.path, request.source), request)
        if not request.as_torch:
            progress("counting its operations", None)
            return _save(model, folder, request.source)
        from edgekit.sources import onnx_facts
        from edgekit.sources.onnx_to_torch.importer import import_model
        from edgekit.torch_program import program_facts
        from edgekit.torch_program.canonical_program import canonical
        from edgekit.torch_program.trace_module import export_module

        progress("importing the graph into torch", None)
        module, examples = import_model(model, request.source)
        program = export_module(module, examples, request.source)
        progress("capturing the graph", None)
        result = canonical(program, examples, request.source, [value.name for value in graph_inputs(model)])
        outputs = [value.name for value in model.graph.output]
        return program_facts.save(result, folder, onnx_facts.count_parameters(model), outputs)


def load(path: Path, title: str) -> Any:
    """Returns the ModelProto in a file, checked.

    Raises:
        ModelError: the file is damaged, breaks the standard, or is quantized already.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise ModelError(
            f"{title} cannot be read as an ONNX file ({path.stat().st_size} bytes): it is damaged or cut off. "
            "Copy or export the file again."
        ) from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{title}: its weights lie in a second file that cannot be read: {_first_line(error)}\n"
            "Put that file beside the .onnx file, or save the model in one file: onnx.save(onnx.load(path), path)."
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{title} holds no graph: it is no ONNX model, or cut off. Copy or export the file again.")
    _check_inputs(model, title)
    for value in model.graph.output:
        # Some exporters leave it out, onnxruntime does without, the checker insists: it is inferred later on.
        value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(str(path) if path.stat().st_size > _LARGEST_MESSAGE else model)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"{title} is no valid ONNX model: {_first_line(error)}\nExport it again, with a newer exporter if there "
            "is one."
        ) from error
    quantized = sorted({node.op_type for node in model.graph.node} & _QUANTIZED)
    if quantized:
        raise ModelError(
            f"{title} is quantized already (it holds {', '.join(quantized)}); edgekit starts from the float model. "
            "Give that one, or check this artifact with edgekit validate."
        )
    return model


def _check_inputs(model: Any, title: str) -> None:
    for value in graph_inputs(model):
        if not value.type.HasField("tensor_type"):
            raise ModelError(f'{title}: the input "{value.name}" is no tensor; only tensors can be inputs.')
        if not value.type.tensor_type.HasField("shape"):
            raise ModelError(f'{title}: the input "{value.name}" has no shape. Export the model with input shapes.')


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def graph_inputs(model: Any) -> list[Any]:
    """Returns the inputs that a caller gives: old exporters list the weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def fix_shapes(model: Any, request: CaptureRequest) -> Any:
    """Returns the model with batch 1, every free size taken from the example inputs, and all shapes inferred.

    Raises:
        ModelError: a size is free and there are no example inputs, or they do not fit, or the batch is another size.
    """
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    inputs = graph_inputs(fixed)
    batch = _batch_symbols(inputs)
    given = _free_sizes(inputs, batch, request)
    for i, value in enumerate(inputs):
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if not dim.HasField("dim_value"):
                dim.dim_value = 1 if axis == 0 or dim.dim_param in batch else given[i][axis]
        if dims and dims[0].dim_value != 1:
            raise ModelError(
                f'{request.source}: the input "{value.name}" has the fixed shape {tuple(d.dim_value for d in dims)}; '
                "artifacts are exported with batch 1. Export the model again with batch 1 or with a dynamic batch."
            )
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    return _with_output_shapes(inferred, request.source)


def _batch_symbols(inputs: list[Any]) -> set[str]:
    """Returns the names of the sizes that are free on a first axis: the batch, wherever else they stand."""
    dims = [value.type.tensor_type.shape.dim for value in inputs]
    return {dim[0].dim_param for dim in dims if len(dim) and dim[0].dim_param}


def _free_sizes(inputs: list[Any], batch: set[str], request: CaptureRequest) -> list[tuple[int, ...]]:
    """Returns the shapes of the example inputs if a size other than the batch is free, else nothing."""

    def is_free(value: Any) -> bool:
        dims = value.type.tensor_type.shape.dim[1:]
        return any(not dim.HasField("dim_value") and dim.dim_param not in batch for dim in dims)

    free = next((value for value in inputs if is_free(value)), None)
    if free is None:
        return []
    from edgekit.sources import example_inputs

    shown = (
        "("
        + ", ".join(
            d.dim_param or "?" if not d.HasField("dim_value") else str(d.dim_value)
            for d in free.type.tensor_type.shape.dim
        )
        + ")"
    )
    why = f'the input "{free.name}" has the shape {shown} with free sizes, and artifacts have fixed shapes'
    shapes = [tuple(tensor.shape) for tensor in example_inputs.require(request, why)]
    wanted = [len(value.type.tensor_type.shape.dim) for value in inputs]
    if [len(shape) for shape in shapes] != wanted:
        raise ModelError(
            f"{request.source}: the example inputs have the shapes {', '.join(map(str, shapes))}; expected "
            f"{len(inputs)} tensors with {', '.join(map(str, wanted))} axes."
        )
    return shapes


def _with_output_shapes(model: Any, title: str) -> Any:
    """Fills in output shapes that inference left open, by one run in onnxruntime.

    Raises:
        ModelError: it cannot run the model.
    """
    import onnx

    known = all(
        value.type.tensor_type.HasField("shape")
        and all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
        for value in model.graph.output
    )
    if known:
        return model
    import numpy as np

    feeds = {
        value.name: np.zeros(
            [d.dim_value for d in value.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in graph_inputs(model)
    }
    try:
        session = _session(model)
        results: Any = session.run(None, feeds)
    except Exception as error:
        raise ModelError(
            f"{title}: onnxruntime cannot run the model at batch 1: {_first_line(error)}\n"
            "If the graph holds another batch as a constant, export it again with batch 1."
        ) from error
    for value, result in zip(model.graph.output, results, strict=True):
        tensor = onnx.helper.make_tensor_value_info(
            value.name, onnx.helper.np_dtype_to_tensor_dtype(result.dtype), result.shape
        )
        value.CopyFrom(tensor)
    return model


def _save(model: Any, folder: Path, title: str) -> Capture:
    import onnx

    from edgekit.sources import onnx_facts

    large = model.ByteSize() > _LARGEST_MESSAGE
    onnx.save(
        model, str(folder / FILE_NAME), save_as_external_data=large, location=f"{FILE_NAME}.data" if large else None
    )
    return Capture(
        kind="onnx",
        file=FILE_NAME,
        inputs=tuple(_spec(value, title) for value in graph_inputs(model)),
        outputs=tuple(_spec(value, title) for value in model.graph.output),
        digest=onnx_facts.digest(model),
        parameters=onnx_facts.count_parameters(model),
        architecture=_architecture(model, folder, title),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _session(model: Any, folded: Path | None = None) -> Any:
    """Returns an onnxruntime session; writes the model with its constants folded where a path is given."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if folded is not None:
        options.optimized_model_filepath = str(folded)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _architecture(model: Any, folder: Path, title: str) -> Architecture:
    """Returns macs and family; where shapes are computed inside the graph, of a copy with its constants folded.

    Raises:
        ModelError: onnxruntime cannot load the model.
    """
    import onnx

    from edgekit.sources import onnx_facts

    found = judge(onnx_facts.operations(model))
    if found.macs is not None or model.ByteSize() > _LARGEST_MESSAGE:
        return found
    path = folder / "folded.onnx"
    try:
        _session(model, path)
    except Exception as error:
        raise ModelError(
            f"{title}: onnxruntime cannot load the model: {_first_line(error)}\n"
            "An operator of another domain or of a newer opset is the usual cause. Export the model without it."
        ) from error
    folded = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    path.unlink()
    return replace(found, macs=judge(onnx_facts.operations(folded)).macs)


def _spec(value: Any, title: str) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    if kind.elem_type == onnx.TensorProto.STRING:
        raise ModelError(f'{title}: the tensor "{value.name}" holds strings; on-device formats hold numbers only.')
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(name=value.name, shape=shape, dtype=dtype, layout=guess_layout(shape, dtype, "NCHW"))
