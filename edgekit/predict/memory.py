"""How much memory a runtime needs to load and run an artifact, beyond an empty process that has the runtime loaded.

    memory = file resident + weights unpacked or packed again + arena + runtime's own

Kernels on ARM and x86 (XNNPACK, MLAS) repack weights into the order in which they read them, so most weights exist twice
while the model runs. Coefficients were measured on a Linux host; a phone's allocator and page cache differ, so the band
is wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from edgekit.analysis.graph import Analysis, KernelClass
from edgekit.analysis.liveness import memory
from edgekit.plan import Precision, Prediction, Recipe
from edgekit.predict.size import estimate_size
from edgekit.predict.storage import store, weight_uses

_PACKED: Final[tuple[KernelClass, ...]] = ("dense_conv", "pointwise_conv", "depthwise_conv", "linear", "recurrent")
"""Kernels that read weights in an order of their own."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTerms:
    """What one runtime's process holds.

    Attributes:
        file: Copies of the file that stay resident.
        packed: Copies of the weights of packed kernels, apart from the file's.
        arena: Copies of the arena.
        fixed_bytes: The rest: the graph's structures, thread pools, code pages touched.
        band: Half width of the 90 % band, as a share.
    """

    file: float
    packed: float
    arena: float
    fixed_bytes: int
    band: float


TERMS: Final[Mapping[str, MemoryTerms]] = {
    "tflite": MemoryTerms(file=1.0, packed=1.0, arena=1.0, fixed_bytes=5_000_000, band=0.2),
    "onnx": MemoryTerms(file=2.0, packed=1.0, arena=1.0, fixed_bytes=8_000_000, band=0.25),
    "executorch": MemoryTerms(file=1.0, packed=1.0, arena=1.0, fixed_bytes=2_000_000, band=0.25),
}
"""By runtime. Core ML is missing on purpose: it cannot be measured without Apple's runtime."""


def activation_bytes(precision: Precision) -> float:
    """Returns the bytes that an activation's element has while it runs."""
    return {"int8_static": 1.0, "w8a16": 2.0}.get(precision, 4.0)


def arena_bytes(analysis: Analysis, recipe: Recipe) -> int:
    """Returns the arena with this recipe's activations; inputs and outputs of the model stay float."""
    element = activation_bytes(recipe.default)
    ends = {*analysis.inputs, *analysis.outputs}

    def size_of(name: str) -> int:
        tensor = analysis.tensors[name]
        if tensor.dtype != "float32" or name in ends:
            return tensor.size_bytes
        return round(tensor.size_bytes / 4 * element)

    return memory(analysis.operators, analysis.inputs, analysis.outputs, size_of).arena_bytes


def predict_memory(analysis: Analysis, recipe: Recipe, runtime: str) -> Prediction:
    """Returns the prediction of `memory`, in bytes with its band."""
    terms = TERMS.get(runtime)
    size = estimate_size(analysis, recipe, runtime)
    if terms is None or size is None:
        reason = (
            "not run: Core ML's memory can only be measured on Apple's systems"
            if runtime == "coreml"
            else f"not run: edgekit has no memory model of {runtime}"
        )
        return Prediction(name="memory", value=None, low=None, high=None, unit="bytes", basis=reason)
    value = round(
        terms.file * size.total_bytes
        + terms.packed * _packed_bytes(analysis, recipe, runtime)
        + terms.arena * arena_bytes(analysis, recipe)
        + terms.fixed_bytes
    )
    slack = value * terms.band
    return Prediction(
        name="memory", value=value, low=round(value - slack), high=round(value + slack), unit="bytes",
        basis="file, packed weights, arena by liveness, runtime",
    )  # fmt: skip


def _packed_bytes(analysis: Analysis, recipe: Recipe, runtime: str) -> int:
    """Returns the bytes of the weights that kernels pack, in the precision in which they compute."""
    uses = weight_uses(analysis, recipe)
    names = {name for operator in analysis.operators if operator.kernel in _PACKED for name in operator.weights}
    total = 0
    for name in names:
        stored = store(analysis.weights[name], uses[name], runtime, recipe)
        total += stored.values_bytes + stored.scales_bytes if stored else 0
    return total
