"""ONNX for onnxruntime (and TensorRT): float, half, static and dynamic INT8, INT4 weights.

The float graph comes from `onnx_source`; each family of precisions has its own file beside this one. The same request
gives the same bytes: nodes carry no stack traces and the file no time or path.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, final

import edgekit
from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.onnx_boundary import make_input_integer, make_output_integer
from edgekit.converters.onnx_dynamic import DYNAMIC_PRODUCTS
from edgekit.converters.onnx_file import write_model
from edgekit.converters.onnx_half import to_half
from edgekit.converters.onnx_pixels import take_pixels, transposes
from edgekit.converters.onnx_precisions import node_precisions
from edgekit.converters.onnx_softmax import write_out_softmax
from edgekit.converters.onnx_source import OnnxFloatGraph, float_graph, sort_nodes
from edgekit.converters.onnx_static import quantize_static
from edgekit.converters.onnx_weights import quantize_weights
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind, TensorSpec, boundary_json
from edgekit.quantization.checks import check_calibration
from edgekit.recipe import Precision, Recipe
from edgekit.task.image_input import ImageInput
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import onnx

IO_KEY: Final = "edgekit.io"
"""Metadata entry with the inputs and outputs as JSON."""

_WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU")
_WEIGHT_PRECISIONS: Final[tuple[Precision, ...]] = ("int8_dynamic", "int8_weights", "int4_weights")


@final
class ONNXConverter(Converter):
    """Writes ONNX files that onnxruntime runs with integer kernels."""

    runtime: ClassVar[str] = "onnx"
    leaves_open: ClassVar[bool] = True
    takes_pixels: ClassVar[bool] = True
    gains_by_samples: ClassVar[frozenset[Precision]] = frozenset({"fp16", "int8_dynamic"})

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can."""
        if kind == "tflite":
            return "a .tflite file is a finished artifact; give the model that it was made from"
        used = recipe.precisions
        if "w8a16" in used:
            return "onnxruntime has no kernels for 16-bit integer activations"
        if "fp16" in used and not used <= {"fp16", "fp32"}:
            return "fp16 mixes with fp32 only; give the parts that must not be integers fp32"
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the ONNX file and describes it.

        Raises:
            ConversionError: an operator that ONNX cannot hold.
            DataError: the calibration data does not fit the model, or makes it compute NaN or infinite values.
        """
        import onnx

        if request.calibration is not None and request.recipe.default != "fp16":
            check_calibration(request.calibration, request.model.inputs)
        progress("exporting the float graph", None)
        graph = float_graph(request.model, request.scratch, fold=bool(request.recipe.precisions - {"fp32"}))
        notes: list[str] = []
        precisions = node_precisions(graph, request.recipe)
        model = _realise(graph, request, notes, progress)
        if "fp16" not in request.recipe.precisions:
            write_out_softmax(model)
        inputs, outputs = _boundary(model.graph, request, notes)
        if request.image is not None:
            inputs = _with_pixels(model.graph, request.image, inputs, notes)
        _describe(model, request, inputs, outputs)
        conversion = Conversion(
            inputs=inputs,
            outputs=outputs,
            notes=tuple(notes),
            operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
            float_fallbacks=_float_fallbacks(graph.modules, model.graph, precisions),
            states=request.model.artifact_states(inputs, outputs),
        )
        progress("writing", None)
        write_model(model, output)
        del model, graph  # the check reads the file: its weights are enough
        try:
            onnx.checker.check_model(str(output))
        except onnx.checker.ValidationError as error:
            raise ConversionError(f"{request.model.source} became an invalid ONNX file: {error}") from error
        return conversion


def _realise(
    graph: OnnxFloatGraph, request: ConversionRequest, notes: list[str], progress: Progress
) -> onnx.ModelProto:
    """Returns the model at the recipe's precisions; what was decided goes to `notes`."""
    recipe = request.recipe
    used = recipe.precisions
    model = graph.model
    if "fp16" in used:
        return to_half(graph, recipe, request.calibration, notes, progress)
    if "int8_static" in used and request.calibration is not None:
        model = quantize_static(
            graph,
            recipe,
            request.calibration,
            progress,
            float_outputs=request.io == "float",
            learned=request.model.learned_ranges,
        )
    if used & {"int8_static", *_WEIGHT_PRECISIONS}:
        progress("quantizing weights", None)
        samples = request.calibration if "int8_dynamic" in used else None
        model = quantize_weights(OnnxFloatGraph(model=model, modules=graph.modules), recipe, notes, samples)
    if "int8_static" in used or any(node.op_type in DYNAMIC_PRODUCTS for node in model.graph.node):
        notes.append(
            "On x86 processors without VNNI onnxruntime needs the session option session.x64quantprecision=1: "
            "their 8-bit products saturate otherwise. ARM processors, and x86 ones with VNNI, need nothing, and the "
            "option would make these slower."
        )
    return model


def _boundary(
    graph: onnx.GraphProto, request: ConversionRequest, notes: list[str]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Makes inputs and outputs integer where that is requested; returns their specs."""
    model = request.model
    inputs, outputs = (list(specs) for specs in model.artifact_boundary())
    if request.io == "int8":
        for specs, change, reason in (
            (inputs, make_input_integer, "reads"),
            (outputs, make_output_integer, "computes"),
        ):
            for i, spec in enumerate(specs):
                if spec.dtype == "float32":
                    changed = change(graph, spec)
                    if changed is None:
                        notes.append(f'"{spec.name}" stays float32: a float operator {reason} it.')
                    specs[i] = changed or spec
    return tuple(inputs), tuple(outputs)


def _with_pixels(
    graph: onnx.GraphProto, image: ImageInput, inputs: Sequence[TensorSpec], notes: list[str]
) -> tuple[TensorSpec, ...]:
    """Returns the inputs with the pixels in the place of the picture; what was done goes to `notes`."""
    before = transposes(graph)
    spec = take_pixels(graph, image)
    notes.append(
        f'"{spec.name}" takes pixels {spec.shape}, uint8, {"RGB" if image.channels > 1 else "grey"}; the preprocessing '
        f"is inside (the graph had {before} transposes, it has {transposes(graph)})."
    )
    return tuple(spec if item.name == spec.name else item for item in inputs)


def _describe(
    model: onnx.ModelProto, request: ConversionRequest, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Writes names, shapes, scales and the request's metadata into the file, and drops what only bloats it."""
    import onnx

    model.producer_name, model.producer_version = "edgekit", edgekit.__version__
    model.graph.name = request.model.name
    del model.graph.value_info[:]
    sort_nodes(model.graph)
    boundary = boundary_json(inputs, outputs, request.model.artifact_states(inputs, outputs))
    onnx.helper.set_model_props(model, {**dict(sorted(request.metadata.items())), IO_KEY: json.dumps(boundary)})


def _float_fallbacks(
    modules: Mapping[str, str], made: onnx.GraphProto, precisions: Mapping[str, Precision]
) -> tuple[str, ...]:
    """Returns the weighted nodes that the recipe wanted in integers and that compute in float."""
    fed = {name: node.op_type for node in made.node for name in node.output}
    constants = {tensor.name for tensor in made.initializer}
    fallbacks: list[str] = []
    for node in made.node:
        if node.op_type not in _WEIGHTED or node.name not in modules:
            continue
        precision = precisions[node.name]
        sources = [fed.get(name) for name in node.input[:2]]
        if precision == "int8_static" and sources != ["DequantizeLinear", "DequantizeLinear"]:
            fallbacks.append(node.name)
        # A product of two activations has no weights that int8_dynamic could store.
        weighted = sources[1] == "DequantizeLinear" or node.input[1] in constants or node.op_type in ("LSTM", "GRU")
        if precision == "int8_dynamic" and weighted:
            fallbacks.append(node.name)
    return tuple(fallbacks)
