"""ExecuTorch: a captured torch model becomes a .pte program whose operators run in the XNNPACK backend.

Inputs and outputs are positional at run time. Each entry of the metadata is a method of its own that takes nothing and
returns the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, final

from edgekit.analysis.graph import Analysis, recurrent_cells
from edgekit.converters.base import Conversion, ConversionRequest, Converter
from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.pt2e_half import to_half
from edgekit.converters.pt2e_interface import described, on_grids, quiet_frameworks, refuse_float_io
from edgekit.converters.pt2e_pixels import take_pixels
from edgekit.converters.to_executorch_lowering import LoweredProgram, lower
from edgekit.errors import ConversionError
from edgekit.model import CapturedKind
from edgekit.quantization.pt2e_graph import FloatGraph, read_float_graph, shape_of, target_of
from edgekit.quantization.pt2e_io import quantize_io
from edgekit.quantization.pt2e_overflow import find_overflows, overflow_words
from edgekit.quantization.pt2e_plan import RECURRENT, label_of
from edgekit.quantization.pt2e_quantization import QuantizedGraph, export_graph, quantize_graph
from edgekit.recipe import Recipe
from edgekit.task.image_input import ImageInput
from edgekit.torch_program.fold_constants import fold_constants
from edgekit.torch_program.hold_states import held_note, held_states, hold_states, without_held
from edgekit.torch_program.norms_as_convolutions import make_norms_convolutions
from edgekit.torch_program.replace_operators import replace_operators
from edgekit.torch_program.rewrites.attention import attention_in_parts
from edgekit.torch_program.rewrites.call import Rewrite
from edgekit.torch_program.rewrites.convolutions import in_planes
from edgekit.torch_program.rewrites.elementwise import mish, prelu_of_vectors, softplus
from edgekit.torch_program.rewrites.reductions import keeping_axes, values_keeping_axes
from edgekit.workers.worker import Progress

_LACKS: Final = "ExecuTorch has no kernel for"
_REWRITES: Final[Mapping[str, Rewrite]] = {
    "amax": keeping_axes,
    "conv3d": in_planes,
    "max": values_keeping_axes,
    "mish": mish,
    "prelu": prelu_of_vectors,
    "softplus": softplus,
}
"""Operators without a kernel in XNNPACK. Its PReLU takes pictures alone, its amax keeps axes: others end the lowering.
What portable kernels of softplus read between two delegates has another order of axes than the first delegate wrote:
such a program fails when it runs (0x10)."""

_PARTS: Final[Mapping[str, Rewrite]] = {"scaled_dot_product_attention": attention_in_parts}
"""Rewritten behind quantization, which treats attention as a whole."""

MOST_CELLS: Final = 512
"""Recurrent cells (steps times layers) that are unrolled.

Each adds fifteen operators and 2.2 kB to the program, a copy of the state's matrix to its memory and about a second to
the conversion: ExecuTorch retraces the program thirty times.
"""

_NOT_IMPORTED: Final = (
    "ExecuTorch is reached through torch, and this model was not imported into torch. "
    "Give the torch model (module:factory or a .pt2 file), or use --format onnx or tflite."
)
_REASONS_BY_KIND: Final[Mapping[str, str]] = {
    "onnx": _NOT_IMPORTED,
    "keras": _NOT_IMPORTED,
    "savedmodel": _NOT_IMPORTED,
    "tflite": "a .tflite file is an artifact already; it can be validated and gated, not converted.",
}


@final
class ExecuTorchConverter(Converter):
    """Writes .pte programs for ExecuTorch's XNNPACK backend."""

    runtime: ClassVar[str] = "executorch"
    leaves_open: ClassVar[bool] = True
    takes_pixels: ClassVar[bool] = True

    def why_not(self, kind: CapturedKind, recipe: Recipe) -> str | None:
        """Returns why a model of this kind cannot be converted with this recipe, or None if it can."""
        if kind != "pt2":
            return _REASONS_BY_KIND[kind]
        used = recipe.precisions
        if "w8a16" in used:
            return "XNNPACK has no kernels with 16-bit integer activations. Use --precision int8, int8-dynamic or fp16."
        if "int8_weights" in used:
            return (
                "XNNPACK has no kernels that read integer weights and compute in float. "
                "Use --precision int8-dynamic: the same size, in integer arithmetic."
            )
        if "fp16" in used and used - {"fp16"}:
            return "XNNPACK takes one float type for the whole program. Use fp32 for the parts that stay float."
        if "int4_weights" in used and recipe.group_size % 32 != 0:
            return f"XNNPACK's 4-bit kernels take groups of a multiple of 32 columns, not of {recipe.group_size}."
        return None

    def why_not_graph(self, analysis: Analysis) -> str | None:
        """Returns why this model's operators cannot be held: recurrent layers over many steps."""
        for operator in analysis.operators:
            cells = int(recurrent_cells(analysis, operator))
            if cells > MOST_CELLS:
                steps = int(operator.attributes["steps"])
                return f"{operator.name} has {_long_sequence(cells // steps, steps)}"
        return None

    def convert(self, request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
        """Writes the program.

        Raises:
            ConversionError: ExecuTorch cannot hold the model; the message has the framework's reason.
        """
        with quiet_frameworks():
            return _convert(request, output, progress)


def _convert(request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
    progress("reading the model", None)
    graph = read_float_graph(request.model)
    if replace_operators(graph.module, _REWRITES):
        fold_constants(graph.module)
    _refuse_long_sequences(request, graph)
    recipe = request.recipe
    inputs, outputs = request.model.artifact_boundary()
    notes: list[str] = []
    fallbacks: tuple[str, ...] = ()
    prepared: FloatGraph | QuantizedGraph = graph
    if recipe.default == "fp16":
        _refuse_overflow(request, graph, progress)
        prepared = to_half(graph)
    elif recipe.default != "fp32" or recipe.overrides:
        make_norms_convolutions(graph.module)
        quantized = quantize_graph(graph, recipe, "xnnpack", request.calibration, progress)
        fallbacks = quantized.fallbacks
        if request.io == "int8":
            quantized, input_grids, output_grids = quantize_io(quantized)
            inputs, outputs = on_grids(inputs, input_grids), on_grids(outputs, output_grids)
        prepared = quantized
    if request.io == "int8":
        refuse_float_io(request, inputs, outputs)
    if (image := request.image) is not None:
        prepared = _with_pixels(prepared, request, image)
        inputs = tuple(image.pixel_spec() if spec.name == image.spec.name else spec for spec in inputs)
    replace_operators(prepared.module, _PARTS)
    held = held_states(request.model)
    states = request.model.artifact_states(inputs, outputs, held=bool(held))
    inputs, outputs = without_held(inputs, held), without_held(outputs, held)
    lowered = _lower(request, prepared, described(request, inputs, outputs, states), progress)
    output.write_bytes(lowered.data)
    if held:
        notes.append(held_note(held, "load the method again"))
    notes.append(_delegation_note(lowered))
    if image is not None:
        notes.append(_pixel_note(image, lowered))
    operators = {f"xnnpack/{name}": count for name, count in lowered.delegated.items()}
    operators |= {f"portable/{name}": count for name, count in lowered.outside.items()}
    return Conversion(
        inputs=inputs,
        outputs=outputs,
        notes=tuple(notes),
        operators=operators,
        float_fallbacks=fallbacks,
        states=states,
    )


def _refuse_overflow(request: ConversionRequest, graph: FloatGraph, progress: Progress) -> None:
    """Refuses a program whose values leave float16 on the calibration samples: it would return infinity or NaN.

    Raises:
        ConversionError: names the operators.
    """
    found = find_overflows(graph, request.calibration, progress) if request.calibration else {}
    if found:
        raise ConversionError(
            f"{request.model.source} cannot become executorch fp16: {overflow_words(graph, found)} on calibration "
            "data, and float16 ends at 65504. XNNPACK takes one float type for the whole program: use --precision "
            "fp32, or --format onnx or coreml, which keep such operators in float32."
        )


def _long_sequence(layers: int, steps: int) -> str:
    """Returns why a recurrent layer of that length is refused, "" if it is not."""
    if steps * layers <= MOST_CELLS:
        return ""
    return (
        f"{layers} layers over {steps} steps. ExecuTorch has no recurrent operators, and the layer would be unrolled "
        f"into {steps * layers} cells; at most {MOST_CELLS} are accepted."
    )


def _refuse_long_sequences(request: ConversionRequest, graph: FloatGraph) -> None:
    """Refuses recurrent layers over more steps than are unrolled: each makes the conversion longer.

    Raises:
        ConversionError: names the layer and its length.
    """
    for node in graph.module.graph.nodes:
        if target_of(node) not in RECURRENT:
            continue
        batch_first, layers = bool(node.args[8]), int(node.args[4]) * (2 if node.args[7] else 1)
        steps = shape_of(node.args[0])[1 if batch_first else 0]
        if reason := _long_sequence(layers, steps):
            raise ConversionError(
                f"{request.model.source} cannot become executorch: {label_of(node)} has {reason} Use --format tflite, "
                "onnx or coreml, or a shorter input."
            )


def _lower(
    request: ConversionRequest,
    graph: FloatGraph | QuantizedGraph,
    constants: Mapping[str, object],
    progress: Progress,
) -> LoweredProgram:
    used = request.recipe.precisions
    held = held_states(request.model)
    program = None
    try:
        program = export_graph(graph)
        return lower(
            hold_states(program, request.model) if held else program,
            constants,
            states=[state.input for state in held],
            dynamic=bool(used & {"int8_dynamic", "int4_weights"}),
            report=lambda phrase: progress(phrase, None),
        )
    except ConversionError as error:
        raise ConversionError(
            f"{request.model.source} cannot become executorch {request.recipe.name}: {error.message} "
            "Try another format, or change the named operator in the model."
        ) from error
    except Exception as error:  # the framework raises many kinds; all of them mean that it cannot hold the model
        reason = failure_reason(error, _LACKS, program)
        raise ConversionError(
            f"{request.model.source} cannot become executorch {request.recipe.name}: {reason}. "
            "Try another format, or change the named operator in the model."
        ) from error


def _with_pixels(
    graph: FloatGraph | QuantizedGraph, request: ConversionRequest, image: ImageInput
) -> FloatGraph | QuantizedGraph:
    """Returns the graph with pixels in the place of the picture."""
    if isinstance(graph, FloatGraph):
        return take_pixels(graph, request.model, image, "NHWC", as_bytes=True)
    return take_pixels(graph, request.model, image, "NHWC", as_bytes=True)


def _pixel_note(image: ImageInput, lowered: LoweredProgram) -> str:
    spec = image.pixel_spec()
    moves = sum(
        count for part in (lowered.delegated, lowered.outside) for name, count in part.items() if "permute" in name
    )
    return (
        f'"{spec.name}" takes pixels {spec.shape}, uint8, {"RGB" if image.channels > 1 else "grey"}; the preprocessing '
        f"is inside (the program has {moves} permutes)."
    )


def _delegation_note(lowered: LoweredProgram) -> str:
    inside, outside = sum(lowered.delegated.values()), sum(lowered.outside.values())
    if not outside:
        return f"XNNPACK runs all {inside} operators."
    names = ", ".join(f"{name} x{count}" for name, count in lowered.outside.items())
    return f"XNNPACK runs {inside} of {inside + outside} operators ({lowered.share:.0%}); portable kernels run {names}."
