"""How much memory a runtime needs to load and run an artifact, beyond an empty process that has the runtime loaded.

    memory = runtime's own + arena + for each weight: its bytes in the file * copies(runtime, kernel)

Kernels on ARM and x86 (XNNPACK, MLAS) repack weights into the order in which they read them, so most weights exist
twice while the model runs; a table whose file is mapped is hardly read at all. Where a runtime widens weights to float
before use, the widened copies count. The copies were told from the peak memory of real artifacts in each runtime on a
Linux host (EfficientNet-Lite0, a residual CNN, an MLP, a 4-layer transformer, an LSTM); a phone's allocator and page
cache differ, so the band is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.analysis.graph import Analysis, KernelClass, Weight, elements, recurrent_cells
from edgekit.analysis.liveness import memory
from edgekit.predict.storage import Use, store, weight_uses
from edgekit.recipe import Precision, Prediction, Recipe

Group = Literal["conv", "linear", "recurrent", "table", "other"]

_GROUPS: Final[Mapping[KernelClass, Group]] = {
    "dense_conv": "conv",
    "pointwise_conv": "conv",
    "depthwise_conv": "conv",
    "linear": "linear",
    "recurrent": "recurrent",
    "embedding": "table",
}
"""Kernel class to how runtimes treat its weights; the rest is `other`."""


OPERATORS_OF_A_CELL: Final = 10
"""Operators that one time step of one recurrent layer becomes where it is unrolled."""

_POINTER_BYTES: Final = 8

_OPERATORS_THAT_COUNT: Final = 60
"""Measured: 14 operators take 4.9 MB in LiteRT, 60 and 217 nodes both some 8.5 MB beside weights and arena."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTerms:
    """What one runtime's process holds.

    Attributes:
        fixed_bytes: Kernels' code pages, thread pools, the allocator's slack.
        per_operator_bytes: One operator's structures, up to 60 operators: then they share.
        copies: Copies of a weight's stored bytes at the peak, by group: (float32, float16, integer).
        widened: Precisions whose weights become float32 before use: stored bytes once, and so many copies fewer of the
            float32 form than a float model has.
        unrolls: Recurrent layers are unrolled, and every time step packs its own float32 copy of the state's matrix,
            also where the file holds integers (measured: 3.9 to 4.2 bytes a weight and step).
        points_to_inputs: A convolution keeps a pointer for each output position and tap (XNNPACK).
        frees_file: The stored copy is gone before the arena is used: the peak is the larger of loading and running.
        band: Half width of the 90 % band, as a share.
    """

    fixed_bytes: int
    per_operator_bytes: int
    copies: Mapping[Group, tuple[float, float, float]]
    widened: Mapping[Precision, float]
    unrolls: bool
    points_to_inputs: bool
    frees_file: bool
    band: float


TERMS: Final[Mapping[str, MemoryTerms]] = {
    # The file is mapped: what is never read, as most rows of a table, is never resident. XNNPACK packs the rest.
    "tflite": MemoryTerms(
        fixed_bytes=3_300_000,
        per_operator_bytes=88_000,
        copies={
            "conv": (2, 2, 2),
            "linear": (2, 2, 2),
            "recurrent": (1.5, 1.5, 1.5),
            "table": (0.05, 0.05, 0.05),
            "other": (1, 1, 1),
        },
        widened={"fp16": 1, "int8_weights": 0},
        unrolls=True,
        points_to_inputs=True,
        frees_file=False,
        band=0.15,
    ),
    # The protobuf is parsed into initializers, and MLAS reorders convolutions; matrices are packed and freed in turn.
    # Recurrent weights are cut and joined again by constant folding.
    "onnx": MemoryTerms(
        fixed_bytes=11_300_000,
        per_operator_bytes=0,
        copies={
            "conv": (3.1, 3.1, 3.5),
            "linear": (1.15, 1.15, 1.7),
            "recurrent": (4, 4, 8),
            "table": (1.1, 1.1, 1.1),
            "other": (1, 1, 1),
        },
        widened={"fp16": 0},
        unrolls=False,
        points_to_inputs=False,
        frees_file=False,
        band=0.2,
    ),
    # Convolutions in float16 lie in 4 bytes and are packed in 2.
    "executorch": MemoryTerms(
        fixed_bytes=3_900_000,
        per_operator_bytes=0,
        copies={
            "conv": (2, 1.5, 2),
            "linear": (2, 2, 2),
            "recurrent": (2, 2, 2),
            "table": (1, 1, 1),
            "other": (1, 1, 1),
        },
        widened={},
        unrolls=False,
        points_to_inputs=True,
        frees_file=True,
        band=0.2,
    ),
}
"""By runtime. Core ML is missing on purpose: it cannot be measured without Apple's runtime."""


def activation_bytes(precision: Precision) -> float:
    """Returns the bytes that an activation's element has while it runs."""
    return {"int8_static": 1.0, "w8a16": 2.0}.get(precision, 4.0)


def activation_sizes(analysis: Analysis, recipe: Recipe) -> Callable[[str], int]:
    """Returns what tells an activation's bytes with this recipe; inputs and outputs of the model stay float."""
    element = activation_bytes(recipe.default)
    ends = {*analysis.inputs, *analysis.outputs}

    def size_of(name: str) -> int:
        tensor = analysis.tensors[name]
        if tensor.dtype != "float32" or name in ends:
            return tensor.size_bytes
        return round(tensor.size_bytes / 4 * element)

    return size_of


def arena_bytes(analysis: Analysis, recipe: Recipe) -> int:
    """Returns the arena with this recipe's activations."""
    sizes = activation_sizes(analysis, recipe)
    return memory(analysis.operators, analysis.inputs, analysis.outputs, sizes).arena_bytes


def predict_memory(analysis: Analysis, recipe: Recipe, runtime: str) -> Prediction:
    """Returns the prediction of `memory`, in bytes with its band."""
    terms = TERMS.get(runtime)
    if terms is None:
        reason = (
            "not run: Core ML's memory can only be measured on Apple's systems"
            if runtime == "coreml"
            else f"not run: edgekit has no memory model of {runtime}"
        )
        return _unknown(reason)
    held = 0.0
    uses = weight_uses(analysis, recipe)
    for weight in analysis.weights.values():
        resident = _resident_bytes(weight, uses[weight.name], runtime, recipe, terms)
        if resident is None:
            return _unknown(f"not run: how {runtime} stores {recipe.name} weights is not known to edgekit")
        held += resident
    operators: float = len(analysis.operators)
    if terms.unrolls:
        cells, copies = _unrolled(analysis)
        held += copies
        operators += OPERATORS_OF_A_CELL * cells
    weights_and_arena = _with_arena(held, arena_bytes(analysis, recipe), recipe, terms)
    structures = terms.per_operator_bytes * min(operators, _OPERATORS_THAT_COUNT)
    if terms.points_to_inputs:
        # An operator's usual bytes were told from models whose pointers are among them.
        structures = max(structures, indirection_bytes(analysis))
    value = round(terms.fixed_bytes + structures + weights_and_arena)
    return Prediction(
        name="memory",
        value=value,
        low=round(value * (1 - terms.band)),
        high=round(value * (1 + terms.band)),
        unit="bytes",
        basis="file, packed weights, arena by liveness, runtime",
    )


def indirection_bytes(analysis: Analysis) -> int:
    """Returns the bytes of XNNPACK's pointers from output positions to the input's rows, all convolutions together.

    A convolution has one for each output position and tap of its filter. A depthwise one shares those of neighbouring
    positions in a row: one for each position and row of the filter. 1 x 1 convolutions with stride 1 need none. See
    `xnn_indirection_init_conv2d` and `xnn_indirection_init_dwconv2d`.
    """
    total = 0
    for operator in analysis.operators:
        size = operator.attributes
        taps = size.get("kernel_h", 1) * size.get("kernel_w", 1)
        is_plain = taps == size.get("stride_h", 1) * size.get("stride_w", 1) == 1
        if operator.kernel not in ("dense_conv", "depthwise_conv", "pointwise_conv") or is_plain:
            continue
        if "transpose" in operator.type.lower():
            continue  # each output position meets few of the taps, and they are spread over several buffers
        channels = max((analysis.weights[name].channels for name in operator.weights), default=1)
        positions = sum(elements(analysis.tensors[name].shape) for name in operator.outputs) // max(channels, 1)
        if operator.kernel == "depthwise_conv":
            taps = size.get("kernel_h", 1) * min(size.get("stride_w", 1), size.get("kernel_w", 1))
        total += positions * taps * _POINTER_BYTES
    return total


def _with_arena(held: float, arena: int, recipe: Recipe, terms: MemoryTerms) -> float:
    """Returns the peak of weights and activations together."""
    if not terms.frees_file:
        return held + arena
    if recipe.default in ("int8_dynamic", "int4_weights"):
        # Each kernel with run-time ranges is a delegate of its own: activations lie in the program's plan and,
        # quantized and not, in the delegate's workspace.
        return held + 2.5 * arena
    # The file's copy is freed after loading: half of what was held gives way to the arena.
    return max(held, held / 2 + arena)


def _unrolled(analysis: Analysis) -> tuple[float, int]:
    """Returns (cells, bytes of the state matrices' copies, one a time step) of the recurrent layers."""
    cells, copies = 0.0, 0
    for operator in analysis.operators:
        cells += recurrent_cells(analysis, operator)
        if operator.kernel == "recurrent":
            matrices = [name for name in operator.weights if analysis.weights[name].role == "recurrent"]
            # Of a layer's two matrices the second belongs to the state; the first is applied to all steps at once.
            count = sum(analysis.weights[name].count for name in matrices[1::2])
            copies += 4 * count * int(operator.attributes.get("steps", 0))
    return cells, copies


def _resident_bytes(weight: Weight, use: Use, runtime: str, recipe: Recipe, terms: MemoryTerms) -> float | None:
    """Returns what a weight takes at the peak, None where its layout in the file is not known."""
    stored = store(weight, use, runtime, recipe)
    if stored is None:
        return None
    in_file = stored.values_bytes + stored.scales_bytes
    group: Group = _GROUPS.get(use.kernel, "other")
    float_copies, half_copies, integer_copies = terms.copies[group]
    if use.precision in terms.widened and weight.is_float and weight.role in ("kernel", "recurrent"):
        return in_file + 4 * weight.count * max(0.0, float_copies - terms.widened[use.precision])
    return in_file * {"fp32": float_copies, "fp16": half_copies}.get(use.precision, integer_copies)


def _unknown(reason: str) -> Prediction:
    return Prediction(name="memory", value=None, low=None, high=None, unit="bytes", basis=reason)
