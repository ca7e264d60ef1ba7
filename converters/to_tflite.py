"""TFLite for LiteRT: float, half, static and dynamic INT8, weight-only INT8, INT4 weights.

The float model comes from `tflite_source`; ai-edge-quantizer realises the recipe with ranges and biases that we
calibrated. The same request gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.analysis.tflite_protocols import TFLiteModel
from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.tflite_even_channels import even_out, far_apart, find_passages
from edgekit.converters.tflite_file import (
    embed,
    io_signature,
    name_boundary,
    operator_counts,
    operators,
    read,
    text,
    write,
)
from edgekit.converters.tflite_groups import four_bit_groups, round_in_groups
from edgekit.converters.tflite_metadata import describe_pixels, with_files
from edgekit.converters.tflite_open import free_axes
from edgekit.converters.tflite_pixels import take_pixels, transposes
from edgekit.converters.tflite_precisions import WEIGHTED, tensor_precisions
from edgekit.converters.tflite_recipe import kept_float, quantizer_recipe
from edgekit.converters.tflite_source import FloatModel, float_model
from edgekit.converters.tflite_static import (
    calibrate,
    calibration_result,
    choose_ranges,
    correct_biases,
    lift_weak_channels,
)
from edgekit.converters.tflite_tasks import ClientOutputs, client_outputs
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind, TensorSpec
from edgekit.quantization.checks import check_calibration
from edgekit.recipe import Recipe
from edgekit.task.image_input import ImageInput
from edgekit.workers.worker import Progress

GROUP_SIZES: Final = (32, 64, 128, 256)
"""Block sizes that LiteRT's 4-bit kernels know."""


@final
class TFLiteConverter(Converter):
    """Writes TFLite files that LiteRT and XNNPACK run with integer kernels."""

    runtime: ClassVar[str] = "tflite"
    leaves_open: ClassVar[bool] = True
    takes_pixels: ClassVar[bool] = True

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can."""
        if kind == "tflite":
            return "a .tflite file is a finished artifact; give the model that it was made from"
        if kind == "onnx":
            return "it takes torch programs and Keras models; give the model that the .onnx file was made from"
        used = recipe.precisions
        if "w8a16" in used:
            return "LiteRT runs 16-bit integer activations with reference kernels only, 26 times slower than float"
        if "int4_weights" in used and recipe.group_size not in GROUP_SIZES:
            return (
                f"LiteRT's 4-bit kernels take groups of {', '.join(map(str, GROUP_SIZES))} weights and the recipe asks "
                f"for {recipe.group_size}"
            )
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the TFLite file and describes it.

        Raises:
            ConversionError: an operator that TFLite cannot hold, or that the quantizer rejects.
            DataError: the calibration data does not fit the model, or makes it compute NaN or infinite values.
        """
        if request.recipe.needs_calibration and request.calibration is not None:
            check_calibration(request.calibration, request.model.inputs)
        progress("converting the float model", None)
        source = float_model(request.model)
        model = _realise(source, request, progress)
        progress("writing", None)
        captured = request.model
        name_boundary(model, [spec.name for spec in captured.inputs], [spec.name for spec in captured.outputs])
        graph = model.subgraphs[0]
        inputs, outputs = captured.artifact_boundary()
        pixel_notes: tuple[str, ...] = ()
        if request.image is not None:
            inputs, pixel_notes = _with_pixels(model, request.image, inputs)
        free_axes(graph, graph.inputs, inputs)
        free_axes(graph, graph.outputs, outputs)
        inputs, outputs = io_signature(model, graph.inputs, inputs), io_signature(model, graph.outputs, outputs)
        embed(model, inputs, outputs, request.metadata, captured.artifact_states(inputs, outputs))
        client = client_outputs(model, request.image, outputs) if request.image else None
        output.write_bytes(_content(model, request, inputs, client))
        return Conversion(
            inputs=inputs,
            outputs=outputs,
            notes=(
                *_notes(source, request, (*inputs, *outputs)),
                *pixel_notes,
                *([client.note] if client and client.note else ()),
            ),
            operators=operator_counts(model),
            float_fallbacks=_float_fallbacks(source, model, request.recipe),
            states=captured.artifact_states(inputs, outputs),
        )


def _with_pixels(
    model: TFLiteModel, image: ImageInput, inputs: Sequence[TensorSpec]
) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Returns the inputs with the pixels in the place of the picture, and what the user should know about that."""
    before = transposes(model)
    spec, behind = take_pixels(model, image)
    kept = f"{behind} transpose behind it, as an operator reads channels first" if behind else "no transpose behind it"
    note = (
        f'"{spec.name}" takes pixels {spec.shape}, uint8, {"RGB" if image.channels > 1 else "grey"}; the preprocessing '
        f"is inside, with {kept} (the model had {before} transposes, it has {transposes(model)})."
    )
    return tuple(spec if item.name == spec.name else item for item in inputs), (note,)


def _content(
    model: TFLiteModel, request: ConversionRequest, inputs: Sequence[TensorSpec], client: ClientOutputs | None
) -> bytes:
    """Returns the file's bytes, with TFLite Metadata where its input is pixels."""
    if request.image is None or client is None:
        return write(model)
    describe_pixels(model, request.image, inputs, client, request.model.name)
    return with_files(write(model), request.image, client)


def _notes(source: FloatModel, request: ConversionRequest, made: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Returns what the user should know about the artifact."""
    notes = [
        f'"{artifact.name}" stays float32: the operator at that end computes in float.'
        for artifact in made
        if request.io == "int8" and artifact.dtype == "float32"
    ]
    precisions = {request.recipe.precision_of(module, "matrix") for module in source.recurrent}
    if precisions & {"int8_static", "int8_dynamic"}:
        notes.append(
            f"{len(source.recurrent)} recurrent layers compute in float with int8 weights: integer activations would "
            "lose accuracy at each step."
        )
    return tuple(notes)


def _float_fallbacks(source: FloatModel, model: TFLiteModel, recipe: Recipe) -> tuple[str, ...]:
    """Returns the weighted operators that the recipe wanted in integers and that compute in float, by output name."""
    from ai_edge_litert import schema_py_generated as schema

    precisions = tensor_precisions(source, recipe)
    fallbacks: list[str] = []
    for graph, operator, kind in operators(model):
        name = text(graph.tensors[operator.outputs[0]].name) if len(operator.outputs) else ""
        if kind not in WEIGHTED or name not in source.modules:
            continue
        precision = precisions[name]
        # Weights are the second input, but the table of an EMBEDDING_LOOKUP too; only its ids are the first.
        weights = graph.tensors[operator.inputs[1]]
        # The first input of a transposed convolution is its output's shape.
        data = graph.tensors[operator.inputs[2 if kind == "TRANSPOSE_CONV" else 0]]
        static = data.type == schema.TensorType.INT8 or kind == "EMBEDDING_LOOKUP"
        integer = weights.type in (schema.TensorType.INT8, schema.TensorType.INT4)
        if precision == "int8_static" and not (static and integer):
            fallbacks.append(name)
        if precision == "int8_dynamic" and not integer and kind != "BATCH_MATMUL":
            fallbacks.append(name)
    return tuple(fallbacks)


def _realise(source: FloatModel, request: ConversionRequest, progress: Progress) -> Any:
    """Returns the model at the recipe's precisions."""
    from ai_edge_quantizer import quantizer

    recipe = request.recipe
    used = recipe.precisions
    if not used - {"fp32"}:
        return source.model
    result: Any = None
    infinite: set[str] = set()
    evened: frozenset[str] = frozenset()
    if "int8_static" in used and request.calibration is not None:
        precisions = tensor_precisions(source, recipe)
        floats = {name for name, precision in precisions.items() if precision != "int8_static"}
        passages = find_passages(source.model, floats) if recipe.per_channel else ()
        names = [name for item in passages for name in (item.before, item.after)]
        calibration = calibrate(write(source.model), request.calibration, progress, names)
        infinite = calibration.statistics.infinite
        kept = kept_float(source, precisions, infinite) | floats
        ranges = choose_ranges(source.model, calibration.statistics, recipe.ranges, request.model.learned_ranges)
        apart = far_apart(passages, calibration.extremes, ranges)
        made_even = even_out(source.model, apart, calibration.extremes, ranges, calibration.input_means)
        evened, ranges = made_even.kept, {**ranges, **made_even.ranges}
        # Behind the scaling, which changes how weights are rounded.
        correct_biases(source.model, {**calibration.input_means, **made_even.means}, kept)
        lift_weak_channels(source.model, ranges)
        result = calibration_result(ranges)
    if "int4_weights" in used:
        groups = four_bit_groups(source.model, tensor_precisions(source, recipe), recipe)
        round_in_groups(source.model, groups)
    progress("quantizing", None)
    made: Any = quantizer.Quantizer(write(source.model))
    float_io = request.io == "float"
    made.load_quantization_recipe(quantizer_recipe(source, recipe, float_io=float_io, infinite=infinite, evened=evened))
    try:
        quantized = made.quantize(result, enable_progress_bar=False, enable_progress_report=False).quantized_model
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines()
        raise ConversionError(
            f"{request.model.source} cannot become tflite {recipe.name}: ai-edge-quantizer says: "
            f"{lines[0] if lines else type(error).__name__}"
        ) from error
    return read(bytes(quantized))
