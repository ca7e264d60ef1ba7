"""Which precision a file made elsewhere has: what lies in it, never what one would wish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.recipe import Recipe, precision_named
from edgekit.validators.artifact_operators import ArtifactOperator

UNKNOWN: Final = "unknown"


def precision_in_file(path: Path, operators: Sequence[ArtifactOperator]) -> str:
    """Returns the name of the precision that most weights have, `+mixed` where others have another, or `unknown`.

    Args:
        path: The artifact.
        operators: What its runtime runs, or what the file holds where it does not tell.
    """
    counts: Counter[str] = Counter()
    for operator in operators:
        if operator.weights:
            counts[_precision(operator)] += operator.weights
    if set(counts) == {"fp32"} and path.suffix.lower() == ".onnx" and _holds_halves(path):
        # onnxruntime tells what it made of the weights: 32 bits on processors without 16-bit arithmetic.
        return "fp16"
    if not counts or counts.most_common(1)[0][0] == UNKNOWN:
        return UNKNOWN
    name = counts.most_common(1)[0][0]
    return name if len(counts) == 1 else f"{name}+mixed"


def recipe_in_file(precision: str) -> Recipe:
    """Returns the recipe that a precision's name speaks of; float where it is unknown."""
    return Recipe(default=precision_named(precision) or "fp32")


def _precision(operator: ArtifactOperator) -> str:
    if operator.weight_bits == 4:
        return "int4"
    if operator.weight_bits == 8:
        if operator.arithmetic == "integer":
            return "w8a16" if operator.dtype in ("int16", "uint16") else "int8-static"
        return "int8-dynamic" if operator.arithmetic == "dynamic" else "int8-weights"
    return {16: "fp16", 32: "fp32"}.get(operator.weight_bits, UNKNOWN)


def _holds_halves(path: Path) -> bool:
    """Returns True where most of an .onnx file's float weights are stored in 16 bits."""
    try:
        import onnx
    except ImportError:
        return False
    model = onnx.load(str(path), load_external_data=False)
    counts: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        counts[tensor.data_type] += count
    return counts[onnx.TensorProto.FLOAT16] > counts[onnx.TensorProto.FLOAT]
