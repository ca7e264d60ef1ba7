"""All operators that the evaluator has, and what it lacks of a program."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.validators.coreml_evaluator.graph import Block, Operation, Reference
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

RANDOM: frozenset[str] = frozenset(randomness.OPERATORS)
"""Operators whose values on a device nobody can foretell."""


def lacking(block: Block) -> list[str]:
    """Returns every operator, or variant of one, that the evaluator lacks, sorted, each once."""
    return sorted(set(_lacking(block)))


def _lacking(block: Block) -> Iterator[str]:
    for operation in block.operations:
        variant = _lacking_variant(operation)
        if variant is not None:
            yield variant
        for nested in operation.blocks:
            yield from _lacking(nested)


def _lacking_variant(operation: Operation) -> str | None:
    if operation.type not in OPERATORS:
        return operation.type
    if operation.type == "resize":
        return resizing.unsupported_resize(operation)
    if operation.type == "conv_quantized":
        return _lacking_quantized(operation)
    return None


def _lacking_quantized(operation: Operation) -> str | None:
    kind = operation.inputs.get("quantization_type", ("linear",))[0]
    if isinstance(kind, Reference) or kind == "linear":
        return None
    return f"conv_quantized (quantization_type={kind})"
