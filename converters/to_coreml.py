"""Core ML: a captured model becomes an .mlpackage (ML Program), on Linux as on macOS.

torch models go through PT2E's form (see `pt2e_quantization`), Keras and SavedModels through coremltools' TensorFlow
converter. Core ML's native float is 16-bit: only the recipe fp32 computes in 32 bits. Inputs and outputs keep the
captured model's names and are float32 unless integers are requested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.coreml_boundary import take_multi_arrays
from edgekit.converters.coreml_boxes import append_boxes
from edgekit.converters.coreml_image import classes_of, classifier, classifier_outputs, image_notes, with_image
from edgekit.converters.coreml_pipeline import EVERY, Suppression
from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.pt2e_interface import described, on_grids, quiet_frameworks, refuse_float_io
from edgekit.converters.pt2e_pixels import take_pixels
from edgekit.converters.to_coreml_package import write_package
from edgekit.converters.to_coreml_program import (
    artifact_specs,
    compress_recurrent_weights,
    coreml_states,
    count_operators,
    deployment_target,
    extend_torch_frontend,
    import_coremltools,
    input_types,
    known_operators,
    output_types,
)
from edgekit.converters.to_coreml_weights import has_zeros, store_tables, store_zeros
from edgekit.errors import ConversionError, EdgekitError
from edgekit.model import CapturedKind, CapturedModel, State, TensorSpec
from edgekit.quantization.pt2e_graph import FloatGraph, constant_of, read_float_graph
from edgekit.quantization.pt2e_io import quantize_io
from edgekit.quantization.pt2e_overflow import find_overflows, overflow_words
from edgekit.quantization.pt2e_plan import RECURRENT, precision_of_node
from edgekit.quantization.pt2e_quantization import export_graph, quantize_graph
from edgekit.quantization.tables import has_table
from edgekit.recipe import Precision, Recipe
from edgekit.torch_program.hold_states import held_note, held_states, hold_states, without_held
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from coremltools.models import MLModel
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

_REASONS_BY_KIND: Final[Mapping[str, str]] = {
    "onnx": "coremltools reads no ONNX, and this file was not imported into torch. "
    "Give the torch model (module:factory or a .pt2 file), or use --format onnx or tflite.",
    "tflite": "a .tflite file is an artifact already; it can be validated and gated, not converted.",
}

_LACKS: Final = "coremltools has no conversion for"


@final
class CoreMLConverter(Converter):
    """Writes ML Programs as .mlpackage folders."""

    runtime: ClassVar[str] = "coreml"
    leaves_open: ClassVar[bool] = True
    takes_pixels: ClassVar[bool] = True

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can."""
        if kind in _REASONS_BY_KIND:
            return _REASONS_BY_KIND[kind]
        used = recipe.precisions
        if "w8a16" in used:
            return "Core ML has no 16-bit integer activations. Use --precision int8 or fp16."
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the package.

        Raises:
            ConversionError: Core ML cannot hold the model; the message has the framework's reason.
        """
        with quiet_frameworks():
            if request.model.kind == "pt2":
                return _convert_torch(request, output, progress)
            from edgekit.converters.to_coreml_keras import convert_keras, import_through_onnx

            if request.recipe.needs_calibration:
                return _convert_torch(import_through_onnx(request, progress), output, progress)
            try:
                made = convert_keras(request, output, progress)
            except ConversionError as refused:
                # Its reader of TensorFlow's graphs knows less than its reader of torch programs (convolutional LSTMs).
                try:
                    imported = import_through_onnx(request, progress)
                except ConversionError:
                    raise refused from None
                return _convert_torch(imported, output, progress)
            return replace(made, notes=(*_notes(request, deployment_target(request.recipe, request.io)), *made.notes))


def _convert_torch(request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
    progress("reading the model", None)
    graph = read_float_graph(request.model)
    request, overflow = _keep_overflow_float(request, graph, progress)
    recipe = request.recipe
    recurrent = _recurrent_in_integers(graph.module, recipe)
    forms = _find_forms(graph.module)
    quantized = quantize_graph(graph, recipe, "mil", request.calibration, progress)
    fallbacks = tuple(name for name in quantized.fallbacks if not recurrent or not _is_recurrent(name))
    inputs, outputs = map(artifact_specs, request.model.artifact_boundary())
    if request.io == "int8":
        quantized, input_grids, output_grids = quantize_io(quantized)
        inputs, outputs = on_grids(inputs, input_grids), on_grids(outputs, output_grids)
        refuse_float_io(request, inputs, outputs)
    image = request.image
    if image is not None:
        quantized = take_pixels(quantized, request.model, image, "NCHW", as_bytes=False)
        inputs = with_image(inputs, request.model.inputs, image)
    suppression = append_boxes(quantized, image, outputs) if image and image.task == "detection" else None
    held = coreml_states(request.model, recipe)
    states = request.model.artifact_states(inputs, outputs, held=bool(held))
    inputs, outputs = without_held(inputs, held), without_held(outputs, held)
    target = deployment_target(recipe, request.io, zeros=forms.zeros, states=len(held))
    program = export_graph(take_multi_arrays(quantized))
    program = hold_states(program, request.model) if held else program
    classes = classes_of(image, outputs)
    made = _lower(request, program, inputs, (*outputs, *_box_specs(suppression)), target, progress)
    outputs = classifier_outputs(outputs) if classes else outputs
    if recurrent:
        progress("compressing recurrent weights", None)
        made = compress_recurrent_weights(made)
    made = _store_forms(made, forms, recipe, progress)
    progress("writing the package", None)
    chosen = suppression if isinstance(suppression, Suppression) else None
    write_package(made, described(request, inputs, outputs, states), output, chosen)
    operators = count_operators(made)
    return Conversion(
        inputs=inputs,
        outputs=outputs,
        notes=(
            *_notes(request, target),
            *_form_notes(operators),
            *overflow,
            *_state_notes(request.model, held),
            *image_notes(image, classes, suppression),
        ),
        operators=operators,
        float_fallbacks=fallbacks,
        states=states,
        metadata=chosen.to_metadata() if chosen else {},
    )


def _box_specs(suppression: Suppression | str | None) -> tuple[TensorSpec, ...]:
    """Returns the outputs that a suppression reads, none without one; their shapes follow from the program."""
    if not isinstance(suppression, Suppression):
        return ()
    return tuple(TensorSpec(name=name, shape=(), dtype="float32") for name in EVERY)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Forms:
    """Which weights can be stored in fewer bytes as they are: how many by tables, how many by the places of zeros."""

    tables: int
    zeros: int


def _find_forms(module: GraphModule) -> _Forms:
    weights = [constant_of(module, node) for node in module.graph.nodes if node.op == "get_attr"]
    tensors = [weight for weight in weights if weight is not None]
    tables = [has_table(weight) for weight in tensors]
    return _Forms(
        tables=sum(tables),
        zeros=sum(has_zeros(weight) for weight, table in zip(tensors, tables, strict=True) if not table),
    )


def _store_forms(made: MLModel, forms: _Forms, recipe: Recipe, progress: Progress) -> MLModel:
    """Returns the model with tables and without stored zeros, where it has any."""
    if forms.tables:
        progress("storing tables of weights", None)
        made = store_tables(made)
    if forms.zeros:
        progress("storing weights without their zeros", None)
        made = store_zeros(made, integers=recipe.default not in {"fp32", "fp16"})
    return made


def _state_notes(model: CapturedModel, held: tuple[State, ...]) -> tuple[str, ...]:
    """Returns what the user should know about states that are buffers in the user's model."""
    if held:
        return (f"{held_note(held, 'make a new state')} States need iOS 18, macOS 15 or watchOS 11.",)
    why = (
        "The states are inputs and outputs: Core ML's own are 16-bit floats that begin with zeros, and these are not, "
        "or 32 bits are requested."
    )
    return (why,) if held_states(model) else ()


def _form_notes(operators: Mapping[str, int]) -> tuple[str, ...]:
    kinds = {"constexpr_lut_to_dense": "lookup tables", "constexpr_sparse_to_dense": "the places of their zeros"}
    return tuple(
        f"Weights that are stored by {what}: {operators[kind]}." for kind, what in kinds.items() if kind in operators
    )


def _keep_overflow_float(
    request: ConversionRequest, graph: FloatGraph, progress: Progress
) -> tuple[ConversionRequest, tuple[str, ...]]:
    """Returns the request with modules whose values leave float16 in float32, and a note that names them.

    Raises:
        ConversionError: such an operator lies in no module, so that no recipe can name it.
    """
    recipe = request.recipe
    watched = request.calibration if recipe.default == "fp16" else None
    found = find_overflows(graph, watched, progress) if watched else {}
    if not found:
        return request, ()
    words = overflow_words(graph, found)
    if any(not module for module, _ in found.values()):
        raise ConversionError(
            f"{request.model.source} cannot become coreml fp16: {words} on calibration data, and float16 ends at "
            "65504. Put the operator into a module of its own, which can then stay float32, or use --precision fp32."
        )
    modules = dict.fromkeys(module for module, _ in found.values())
    kept: tuple[tuple[str, Precision], ...] = tuple((module, "fp32") for module in modules)
    changed = replace(request, recipe=replace(recipe, overrides=(*kept, *recipe.overrides)))
    return changed, (f"Kept in float32, as float16 ends at 65504: {words}.",)


def _lower(
    request: ConversionRequest,
    program: ExportedProgram,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    target: str,
    progress: Progress,
) -> MLModel:
    """Returns the coremltools model of an ExportedProgram for the systems `target` and later."""
    import torch

    progress("loading coremltools", None)
    ct = import_coremltools()
    extend_torch_frontend()
    pipeline = ct.PassPipeline.DEFAULT
    # It turns dequantize, reshape, quantize into a bare reshape without comparing the two grids: wrong values.
    pipeline.remove_passes({"common::int_op_canonicalization"})
    progress("converting to Core ML", None)
    try:
        with torch.no_grad():
            program = known_operators(program)
        return ct.convert(
            program,
            source="pytorch",
            convert_to="mlprogram",
            inputs=input_types(ct, inputs, request.model.open_sizes, image=request.image),
            outputs=output_types(ct, outputs),
            classifier_config=classifier(ct, classes_of(request.image, outputs)),
            minimum_deployment_target=ct.target[target],
            compute_precision=_compute_precision(ct, request.recipe, program),
            pass_pipeline=pipeline,
            skip_model_load=True,
        )
    except EdgekitError:
        raise
    except Exception as error:  # the framework raises many kinds; all of them mean that it cannot hold the model
        raise ConversionError(
            f"{request.model.source} cannot become coreml {request.recipe.name}: "
            f"{failure_reason(error, _LACKS, program)}. Try another format, or change the named operator in the model."
        ) from error


def _compute_precision(ct: ModuleType, recipe: Recipe, program: ExportedProgram) -> Any:
    """Returns 16-bit arithmetic, but 32-bit for the recipe fp32 and for the modules that it names fp32."""
    if recipe.default == "fp32":
        return ct.precision.FLOAT32
    if "fp32" not in {precision for _, precision in recipe.overrides}:
        return ct.precision.FLOAT16
    kept = {node.name for node in program.graph.nodes if precision_of_node(recipe, node) == "fp32"}
    return ct.transform.FP16ComputePrecision(op_selector=lambda op: op.name not in kept)


def _recurrent_in_integers(module: GraphModule, recipe: Recipe) -> bool:
    return any(
        str(node.target) in RECURRENT and precision_of_node(recipe, node) not in {"fp32", "fp16"}
        for node in module.graph.nodes
        if node.op == "call_function"
    )


def _is_recurrent(label: str) -> bool:
    return any(f"({name})" in label for name in RECURRENT)


def _notes(request: ConversionRequest, target: str) -> tuple[str, ...]:
    recipe = request.recipe
    notes: list[str] = []
    if recipe.default in ("int8_dynamic", "int8_hybrid"):
        what = "int8-dynamic stores" if recipe.default == "int8_dynamic" else "int8-hybrid stores for linear layers"
        notes.append(
            f"Core ML chooses no activation grids at run time: {what} integer weights, a scale for each output "
            "channel, and computes in 16-bit float."
        )
    if recipe.default == "int4_weights":
        tables = "and embedding tables have" if request.model.kind == "pt2" else "have"
        others = "convolutions" if request.model.kind == "pt2" else "embedding tables and convolutions"
        notes.append(f"Linear layers {tables} 4-bit weights; {others} have 8-bit weights.")
    if request.io == "int8":
        notes.append("Integer inputs and outputs need iOS 26, macOS 26 or watchOS 26.")
    elif recipe.default == "int4_weights":
        notes.append("4-bit weights in groups need iOS 18, macOS 15 or watchOS 11.")
    elif target == "iOS18" and not coreml_states(request.model, recipe):
        notes.append("Integer weights without their zeros need iOS 18, macOS 15 or watchOS 11.")
    return tuple(notes)
