"""The source `.onnx`: an ONNX graph. Runs onnx, in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, final

from edgekit.analysis.graph_damage import damage_named
from edgekit.analysis.onnx_bodies import lay_out_bodies
from edgekit.analysis.onnx_normal_form import (
    SEPARATE_WEIGHTS_IR,
    bring_into_normal_form,
    check_words,
    graph_inputs,
    nodes_of,
)
from edgekit.analysis.onnx_run_shapes import LARGEST_MESSAGE
from edgekit.errors import ModelError
from edgekit.model import SourceKind, TensorSpec
from edgekit.plain_text import first_line
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.onnx_shapes import fix_shapes
from edgekit.torch_program.architecture import judge
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.layout import guess_layout
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import onnx

FILE_NAME: Final = "float.onnx"
_QUANTIZED: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
    | {"MatMulInteger", "MatMulNBits", "QGemm", "QLinearAdd", "GatherBlockQuantized"}
)


@final
class OnnxFileSource(Source):
    """Checks the graph and fixes its shapes; keeps it as ONNX, or imports it into torch where that is requested."""

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
        model, settled = fix_shapes(load(request.path, request.source), request)
        if not request.as_torch:
            progress("counting its operations", None)
            with damage_named(request.source):  # the checker does not hold a tensor's content against its shape
                return replace(_save(model, folder, request.source), settled_branches=settled)
        from edgekit.sources import onnx_facts
        from edgekit.sources.onnx_to_torch.importer import import_model
        from edgekit.torch_program import program_facts
        from edgekit.torch_program.canonical_program import canonical
        from edgekit.torch_program.single_precision import other_floats
        from edgekit.torch_program.trace_module import export_module

        progress("importing the graph into torch", None)
        module, examples = import_model(model, request.source)
        program = export_module(module, examples, request.source)
        progress("capturing the graph", None)
        others = other_floats(program.graph_module)
        result = canonical(program, examples, request.source, [value.name for value in graph_inputs(model)])
        outputs = [value.name for value in model.graph.output]
        found = program_facts.save(result, folder, onnx_facts.count_parameters(model), outputs, float_types=others)
        return replace(found, settled_branches=settled)


def load(path: Path, title: str) -> onnx.ModelProto:
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
    except TypeError as error:
        # protobuf gives text that is no UTF-8 as bytes, which onnx does not take for a path.
        raise ModelError(
            f"{title}: the name of a second file with its weights is not UTF-8: it is damaged, or the model was saved "
            "under such a name. Save it again under a plain name: onnx.save(model, path)."
        ) from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{title}: its weights lie in a second file that cannot be read: {first_line(error)}\n"
            "Put that file beside the .onnx file, or save the model in one file: onnx.save(onnx.load(path), path)."
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{title} holds no graph: it is no ONNX model, or cut off. Copy or export the file again.")
    _check_boundary(model, title)
    check_words(model, title)
    if {tensor.name for tensor in model.graph.initializer} - {value.name for value in model.graph.input}:
        # What onnxruntime takes and the checker does not: the new form of weights under an old version's number.
        model.ir_version = max(model.ir_version, SEPARATE_WEIGHTS_IR)
    shapeless = [v.type.tensor_type for v in model.graph.input if not v.type.tensor_type.HasField("shape")]
    for kind in (*shapeless, *(value.type.tensor_type for value in model.graph.output)):
        # Some exporters leave it out, onnxruntime does without, the checker insists: it is found later on.
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(str(path) if path.stat().st_size > LARGEST_MESSAGE else model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{title} is no valid ONNX model: {first_line(error)}\nExport it again, with a newer exporter if there "
            "is one."
        ) from error
    for kind in shapeless:
        kind.ClearField("shape")
    model = bring_into_normal_form(model)
    quantized = sorted({node.op_type for node in nodes_of(model.graph)} & _QUANTIZED)
    if quantized:
        raise ModelError(
            f"{title} is quantized already (it holds {', '.join(quantized)}); edgekit starts from the float model. "
            "Give that one, or check this artifact with edgekit validate."
        )
    return model


def _check_boundary(model: onnx.ModelProto, title: str) -> None:
    for value in graph_inputs(model):
        if not value.type.HasField("tensor_type"):
            raise ModelError(f'{title}: the input "{value.name}" is no tensor; only tensors can be inputs.')
    for value in model.graph.output:
        kind = value.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            raise ModelError(
                f'{title}: the output "{value.name}" is a {kind.removesuffix("_type")}, and on-device formats return '
                "tensors. Export the model without what makes it (ZipMap: options={'zipmap': False})."
            )


def _save(model: onnx.ModelProto, folder: Path, title: str) -> Capture:
    import onnx

    from edgekit.sources import onnx_facts

    large = model.ByteSize() > LARGEST_MESSAGE
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
        architecture=judge(onnx_facts.operations(lay_out_bodies(model)[0])),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _spec(value: onnx.ValueInfoProto, title: str) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    if kind.elem_type == onnx.TensorProto.STRING:
        raise ModelError(f'{title}: the tensor "{value.name}" holds strings; on-device formats hold numbers only.')
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(name=value.name, shape=shape, dtype=dtype, layout=guess_layout(shape, dtype, "NCHW"))
