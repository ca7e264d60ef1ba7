"""What the Core ML converter asks of coremltools."""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from edgekit.converters.base import IoType
from edgekit.converters.coreml_image import image_type
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, OpenSizes, State, TensorSpec
from edgekit.recipe import Recipe
from edgekit.task.image_input import ImageInput
from edgekit.torch_program.hold_states import held_states
from edgekit.torch_program.recurrent_kinds import RECURRENT_KINDS, has_projections, is_simple_both_ways

if TYPE_CHECKING:
    from coremltools.models import MLModel
    from torch.export import ExportedProgram

_DTYPES: Final = {
    "float64": "float32",
    "float16": "float32",
    "int64": "int32",
    "uint8": "int32",
    "int16": "int32",
    "bool": "int32",
}
"""Core ML's multi-arrays are float32, float16, int32, and int8 since iOS 26: the nearest one that holds the values."""

_SUPPORTED: Final = frozenset({"float32", "int32", "int8"})
_RECURRENT_OPERATORS: Final = ("lstm", "gru", "rnn")
_NO_TRANSLATION: Final = frozenset({"affine_grid_generator"})
"""Operators whose translation only serves TorchScript's graphs: in an exported program its reader fails."""
_READS_DEFAULTS: Final = frozenset({"cosine_similarity.default", "mse_loss.default"})
"""Operators whose translation counts on all arguments: an exported program leaves out those that are the default."""


def import_coremltools(*, with_tensorflow: bool = False) -> ModuleType:
    """Returns the module coremltools, imported without TensorFlow unless that is the source: that saves 10 s."""
    hidden = "tensorflow" not in sys.modules and "coremltools" not in sys.modules and not with_tensorflow
    if hidden:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    try:
        import coremltools

        found: ModuleType = coremltools
    finally:
        if hidden:
            del sys.modules["tensorflow"]
    return found


def extend_torch_frontend() -> None:
    """Teaches coremltools' torch frontend int8 inputs, copies of inputs, and recurrent operators in exported programs.

    It has the translations of recurrent operators for TorchScript, where one node has several outputs; in an exported
    program the node has one output, a tuple. It has int8 tensors in packages, and no torch dtype for them.
    """
    import torch
    from coremltools.converters.mil.frontend.torch import torch_op_registry, utils
    from coremltools.converters.mil.mil import types

    # Its public methods can set a translation, not look one up.
    registry: Any = vars(torch_op_registry)["_TORCH_OPS_REGISTRY"]
    utils.TORCH_DTYPE_TO_MIL_DTYPE.setdefault(torch.int8, types.int8)
    registry.name_to_func_mapping["clone"] = _copy
    for kind, outputs in RECURRENT_KINDS.items():
        if kind in registry.name_to_func_mapping:
            continue  # a second conversion in this process
        registry.set_func_by_name(_tuple_translation(registry.get_func(kind.split(".")[0]), outputs), kind)


def known_operators(program: ExportedProgram) -> ExportedProgram:
    """Returns the program in functional form, with what coremltools lacks written out in operators that it has.

    torch's own decompositions do it (a GRU cell, a distance, a choice among numbers), again where what they give is
    lacking too. What cannot be written out stays as the model has it, so that the conversion names that.
    """
    lacking = _lacking(program)
    written = _written_out(program, lacking)
    if _lacking(written) <= lacking:
        return written
    possible = {target for target in lacking if _lacking(_written_out(program, {target})) <= lacking}
    return _written_out(program, possible)


def _written_out(program: ExportedProgram, targets: set[Any]) -> ExportedProgram:
    """Returns the program with decompositions of these operators, and of lacking ones that come of them."""
    import torch

    decompositions: Any = torch.export.default_decompositions()
    kept = _lacking(program) - targets
    table: dict[Any, Any] = {}
    while True:
        program = program.run_decompositions(dict(table))
        _write_defaults(program)
        found = {target for target in _lacking(program) - kept if target in decompositions}
        if found <= table.keys():
            return program
        table |= {target: decompositions[target] for target in found}


def _write_defaults(program: ExportedProgram) -> None:
    """Writes arguments that were left out, for the operators whose translation counts on all of them."""
    for node in program.graph.nodes:
        if getattr(node.target, "__name__", "") in _READS_DEFAULTS:
            left = node.target._schema.arguments[len(node.args) :]  # noqa: SLF001  there is no public way
            node.args = (*node.args, *(node.kwargs.get(item.name, item.default_value) for item in left))
            node.kwargs = {}


def _lacking(program: ExportedProgram) -> set[Any]:
    """Returns torch's operators in a program for which coremltools has no translation, or none that works."""
    from coremltools.converters.mil.frontend.torch import torch_op_registry
    from torch._ops import OpOverload

    registry: Any = vars(torch_op_registry)["_TORCH_OPS_REGISTRY"]
    called: Any = [node for node in program.graph.nodes if isinstance(node.target, OpOverload)]
    return {
        node.target
        for node in called
        if node.target.__name__.partition(".")[0] in _NO_TRANSLATION
        or registry.get_func(node.target.__name__) is None
        or has_projections(node)
        or is_simple_both_ways(node)
    }


def _copy(context: Any, node: Any) -> None:
    """Translates a copy: its own translation gives the input's tensor, which cannot be an output of another name."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs  # pyright: ignore[reportPrivateUsage]  no public way

    builder: Any = Builder  # its methods are made when coremltools is imported
    context.add(builder.identity(x=_get_inputs(context, node)[0], name=node.name))


def _tuple_translation(translate: Callable[[Any, Any], None], outputs: int) -> Callable[[Any, Any], None]:
    """Returns a translation that gathers the outputs of `translate` into one tuple."""

    def translated(context: Any, node: Any) -> None:
        whole = node.name
        names = [f"{whole}_output_{i}" for i in range(outputs)]
        node.outputs, node.name = names, names[0]
        translate(context, node)
        node.outputs, node.name = [whole], whole
        context.add(tuple(context[name] for name in names), torch_name=whole)

    return translated


def coreml_states(model: CapturedModel, recipe: Recipe) -> tuple[State, ...]:
    """Returns the states that a package keeps itself: all or none.

    Core ML's states are 16-bit floats that begin with zeros: a counter, a state that begins elsewhere and a recipe of
    32 bits need inputs and outputs.
    """
    dtypes = {spec.name: spec.dtype for spec in model.inputs}
    states = held_states(model)
    fit = all(dtypes[state.input] == "float32" and state.initial == (0.0,) for state in states)
    return states if fit and recipe.default != "fp32" else ()


def deployment_target(recipe: Recipe, io: IoType, *, zeros: int = 0, states: int = 0) -> str:
    """Returns the oldest systems that the package needs: iOS 17, 18 for 4-bit groups and states, 26 for int8 tensors.

    Args:
        recipe: What is stored.
        io: Types of inputs and outputs.
        zeros: How many weights are stored without their zeros; of integers only iOS 18 can do that.
        states: How many states the package keeps itself.
    """
    used = recipe.precisions
    if io == "int8":
        return "iOS26"
    return "iOS18" if states or "int4_weights" in used or (zeros and used - {"fp32", "fp16"}) else "iOS17"


def artifact_specs(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Returns the specs with the dtypes that Core ML has, and with names of letters, digits and underscores.

    Raises:
        ConversionError: a tensor of a dtype that no multi-array holds.
    """
    made: list[TensorSpec] = []
    for spec in specs:
        dtype = _DTYPES.get(spec.dtype, spec.dtype)
        if dtype not in _SUPPORTED:
            raise ConversionError(
                f'Core ML has no {spec.dtype} inputs and outputs, and "{spec.name}" is one. '
                "Let the model take and return float32 or int32 there."
            )
        name = re.sub(r"\W", "_", spec.name, flags=re.ASCII)
        name = f"_{name}" if not name or name[0].isdigit() else name
        made.append(replace(spec, name=name, shape=spec.shape or (1,), dtype=dtype))
    return tuple(made)


def input_types(
    ct: ModuleType, specs: tuple[TensorSpec, ...], opened: OpenSizes | None = None, image: ImageInput | None = None
) -> list[Any]:
    """Returns coremltools' descriptions of inputs; sizes that stay open are ranges, the largest is the default.

    Args:
        ct: coremltools.
        specs: The artifact's inputs.
        opened: Sizes that stay open.
        image: The input that takes pixels; None where all are arrays.
    """
    import numpy as np

    shapes: list[Any] = [spec.shape for spec in specs]
    if opened is not None:
        ranges = {item.name: ct.RangeDim(item.min, item.max, default=item.max) for item in opened.dimensions}
        for place, names in enumerate(opened.inputs):
            if any(names):
                sizes = zip(shapes[place], names, strict=True)
                shapes[place] = ct.Shape([ranges[name] if name else size for size, name in sizes])
    return [
        image_type(ct, spec, image)
        if image is not None and image.is_pixels(spec)
        else ct.TensorType(name=spec.name, dtype=np.dtype(spec.dtype).type, shape=shape)
        for spec, shape in zip(specs, shapes, strict=True)
    ]


def output_types(ct: ModuleType, specs: tuple[TensorSpec, ...]) -> list[Any]:
    """Returns coremltools' descriptions of outputs, without shapes."""
    import numpy as np

    return [ct.TensorType(name=spec.name, dtype=np.dtype(spec.dtype).type) for spec in specs]


def compress_recurrent_weights(model: MLModel) -> MLModel:
    """Returns the model with the weights of LSTM, GRU and RNN operators in int8, a scale for each row."""
    from coremltools.optimize import coreml as cto

    setting = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
    )
    by_type: Any = dict.fromkeys(_RECURRENT_OPERATORS, setting)  # declared as one configuration by mistake
    by_name: Any = dict.fromkeys(_products_in_loops(model), setting)
    config = cto.OptimizationConfig(op_type_configs=by_type, op_name_configs=by_name)
    return cast("MLModel", cto.linear_quantize_weights(model, config))


def _products_in_loops(model: MLModel) -> list[str]:
    """Returns the names of the linear operators inside loops: Core ML has no GRU operator, only its steps."""
    return [
        operator.outputs[0].name
        for function in model.get_spec().mlProgram.functions.values()
        for block in function.block_specializations.values()
        for loop in block.operations
        for body in loop.blocks
        for operator in body.operations
        if operator.type == "linear"
    ]


def count_operators(model: MLModel) -> dict[str, int]:
    """Returns how many operators of each type the program has; constants are none."""
    functions = model.get_spec().mlProgram.functions
    counts: Counter[str] = Counter()
    for function in functions.values():
        for block in function.block_specializations.values():
            counts.update(item.type for item in block.operations if item.type != "const")
    return dict(sorted(counts.items()))
