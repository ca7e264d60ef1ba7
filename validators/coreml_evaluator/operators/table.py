"""All operators that the evaluator has, and what it lacks of a program."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validators.coreml_evaluator.graph import Block, Function, Operation, Reference
from edgekit.validators.coreml_evaluator.operators import (
    activations,
    classification,
    control_flow,
    convolution,
    elementwise,
    filling,
    gathering,
    linear_algebra,
    normalization,
    pooling,
    quantization,
    randomness,
    recurrent,
    reduction,
    resizing,
    sampling,
    shaping,
    slicing,
    sorting,
)
from edgekit.validators.coreml_evaluator.operators.call import Kernel

OPERATORS: dict[str, Kernel] = {
    **activations.OPERATORS,
    **classification.OPERATORS,
    **control_flow.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **filling.OPERATORS,
    **gathering.OPERATORS,
    **linear_algebra.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **quantization.OPERATORS,
    **randomness.OPERATORS,
    **recurrent.OPERATORS,
    **reduction.OPERATORS,
    **resizing.OPERATORS,
    **sampling.OPERATORS,
    **shaping.OPERATORS,
    **slicing.OPERATORS,
    **sorting.OPERATORS,
}
"""By operator type."""

PICKING: frozenset[str] = frozenset(
    (
        "band_part",
        "batch_to_space",
        "clip",
        "concat",
        "cond",
        "crop",
        "depth_to_space",
        "expand_dims",
        "fill",
        "flatten2d",
        "gather",
        "gather_along_axis",
        "gather_nd",
        "identity",
        "list_gather",
        "list_read",
        "max_pool",
        "maximum",
        "minimum",
        "non_maximum_suppression",
        "pad",
        "pixel_shuffle",
        "pixel_unshuffle",
        "read_state",
        "reduce_max",
        "reduce_min",
        "relu",
        "relu6",
        "reshape",
        "reshape_like",
        "resize_nearest_neighbor",
        "reverse",
        "reverse_sequence",
        "select",
        "slice_by_index",
        "slice_by_size",
        "slice_update",
        "sliding_windows",
        "space_to_batch",
        "space_to_depth",
        "split",
        "squeeze",
        "stack",
        "tile",
        "topk",
        "transpose",
        "upsample_nearest_neighbor",
        "while_loop",
    )
)
"""Operators whose results are elements of their inputs or whole numbers: fp16 inputs give fp16 results unrounded."""

FRESH: frozenset[str] = frozenset(
    ("add", "avg_pool", "clip", "conv", "linear", "matmul", "mul", "real_div", "relu", "sigmoid", "sub")
)
"""Operators whose results never share memory with what they were computed from: they may be changed in place."""

RANDOM: frozenset[str] = frozenset(randomness.OPERATORS)
"""Operators whose values on a device nobody can foretell."""


UNDECLARED_SHAPES: frozenset[str] = frozenset(("crop_resize",))
"""Operators whose declared shape coremltools gets wrong (regions that name their image, in a batch of several)."""


def lacking(function: Function) -> list[str]:
    """Returns every operator, or variant of one, that the evaluator lacks, sorted, each once."""
    return sorted(set(_lacking(function, function.block)))


def _lacking(function: Function, block: Block) -> Iterator[str]:
    for operation in block.operations:
        variant = _lacking_variant(function, operation)
        if variant is not None:
            yield variant
        for nested in operation.blocks:
            yield from _lacking(function, nested)


def _lacking_variant(function: Function, operation: Operation) -> str | None:
    if operation.type not in OPERATORS:
        return operation.type
    if operation.type == "resize":
        interpolation = _setting(function, operation, "interpolation_mode", "LINEAR")
        sampling = _setting(function, operation, "sampling_mode", "DEFAULT")
        return resizing.undocumented_variant(interpolation, sampling, operation.outputs[0].type.dtype)
    if operation.type == "conv_quantized":
        kind = _setting(function, operation, "quantization_type", "linear")
        return None if kind == "linear" else f"conv_quantized (quantization_type={kind})"
    return None


def _setting(function: Function, operation: Operation, parameter: str, default: str) -> str:
    """Returns a string argument, which is always a constant of the file."""
    item = operation.inputs.get(parameter, (default,))[0]
    return str(function.constants.get(item.name, default) if isinstance(item, Reference) else item)
