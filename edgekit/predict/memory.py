"""How much memory a runtime needs to load and run an artifact, beyond an empty process that has the runtime loaded.

    memory = runtime's own + activations + for each weight: its bytes in the file * copies(runtime, kernel)

Kernels on ARM and x86 (XNNPACK, MLAS) repack weights into the order in which they read them, so most weights exist
twice while the model runs; a table whose file is mapped is hardly read at all. Where a runtime widens weights to float
before use, the widened copies count. The copies come from the peak memory of real artifacts in each runtime on a
Linux host (EfficientNet-Lite0, a residual CNN, an MLP, a 4-layer transformer, an LSTM, and files of public packages:
`benchmarks/results/wild.md`; of ExecuTorch's convolutions `benchmarks/results/memory.md`); a phone's allocator and page
cache differ, so the band is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from edgekit.analysis.graph import Analysis, KernelClass, Weight, elements, recurrent_cells
from edgekit.analysis.liveness import memory
from edgekit.analysis.operator_precisions import analysis_precisions
from edgekit.formats.stored_bytes import MemoryTerms, WeightGroup
from edgekit.formats.table import known_format
from edgekit.predict.grown_arena import grown_bytes
from edgekit.predict.onnxruntime_buffers import changes_of_a_run
from edgekit.predict.storage import Stored, Use, store, weight_uses
from edgekit.recipe import Precision, Prediction, Recipe

_GROUPS: Final[Mapping[KernelClass, WeightGroup]] = {
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

_LOOPS: Final = frozenset({"Loop", "Scan"})
_COPIES_OF_CARRIED: Final = 2.85
"""Of weights that go around a loop: at load, in the first run, and in the block of later ones."""


def activation_bytes(precision: Precision) -> float:
    """Returns the bytes that an activation's element has while it runs."""
    return {"int8_static": 1.0, "w8a16": 2.0}.get(precision, 4.0)


def activation_sizes(analysis: Analysis, recipe: Recipe) -> Callable[[str], int]:
    """Returns what tells an activation's bytes with this recipe; inputs and outputs of the model stay float."""
    precisions = analysis_precisions(analysis, recipe)
    element = {name: activation_bytes(precisions[item.name]) for item in analysis.operators for name in item.outputs}
    ends = {*analysis.inputs, *analysis.outputs}

    def size_of(name: str) -> int:
        tensor = analysis.tensors[name]
        if tensor.dtype != "float32" or name in ends:
            return tensor.size_bytes
        return round(tensor.size_bytes / 4 * element.get(name, activation_bytes(recipe.default)))

    return size_of


def arena_bytes(analysis: Analysis, recipe: Recipe) -> int:
    """Returns the arena with this recipe's activations."""
    sizes = activation_sizes(analysis, recipe)
    return memory(analysis.operators, analysis.inputs, analysis.outputs, sizes).arena_bytes


def predict_memory(analysis: Analysis, recipe: Recipe, runtime: str) -> Prediction:
    """Returns the prediction of `memory`, in bytes with its band."""
    made = known_format(runtime)
    terms = made.memory if made else None
    if made is None or terms is None:
        return _unknown(f"not measured: {(made and made.why_no_memory) or f'edgekit has no memory model of {runtime}'}")
    held = 0.0
    uses = weight_uses(analysis, recipe)
    for weight in analysis.weights.values():
        stored = store(weight, uses[weight.name], runtime, recipe)
        resident = _resident_bytes(weight, uses[weight.name], stored, terms) if stored else None
        if resident is None:
            return _unknown(f"not measured: how {runtime} stores {recipe.name} weights is not known to edgekit")
        held += resident
    operators: float = len(analysis.operators)
    if terms.unrolls:
        cells, copies = _unrolled(analysis)
        held += copies
        operators += OPERATORS_OF_A_CELL * cells
    if terms.loads_matrices_twice:
        held += _largest_matrix(analysis, uses, runtime, recipe)
    weights_and_arena = held + _activations(analysis, recipe, terms)
    structures = terms.per_operator_bytes * min(operators, terms.operators_that_count or operators)
    structures += terms.per_body_bytes * analysis.bodies
    if terms.points_to_inputs:
        structures += indirection_bytes(analysis)
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


def _activations(analysis: Analysis, recipe: Recipe, terms: MemoryTerms) -> float:
    """Returns what activations take beside the weights."""
    if terms.arena == "grown":
        changes = changes_of_a_run(analysis, analysis_precisions(analysis, recipe), activation_sizes(analysis, recipe))
        largest = max((weight.size_bytes for weight in analysis.weights.values()), default=0)
        carried = sum(analysis.weight_bytes(item) for item in analysis.operators if item.type in _LOOPS)
        return grown_bytes(changes, spare_bytes=2 * largest) + _COPIES_OF_CARRIED * carried
    copies = terms.arena_copies
    if recipe.default in ("int8_dynamic", "int8_hybrid", "int4_weights"):
        copies = terms.dynamic_arena_copies or copies
    return copies * arena_bytes(analysis, recipe)


def _largest_matrix(analysis: Analysis, uses: Mapping[str, Use], runtime: str, recipe: Recipe) -> float:
    """Returns the stored bytes of the largest weight of a linear layer."""
    stored = (
        store(weight, uses[weight.name], runtime, recipe)
        for weight in analysis.weights.values()
        if uses[weight.name].kernel == "linear"
    )
    return max((one.values_bytes for one in stored if one), default=0.0)


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


def _resident_bytes(weight: Weight, use: Use, stored: Stored, terms: MemoryTerms) -> float:
    """Returns what a weight takes at the peak."""
    in_file = stored.values_bytes + stored.scales_bytes
    group: WeightGroup = _GROUPS.get(use.kernel, "other")
    float_copies, half_copies, integer_copies = terms.copies[group]
    if use.precision in terms.widened and weight.is_float and weight.role in ("kernel", "recurrent"):
        return in_file + 4 * weight.count * max(0.0, float_copies - terms.widened[use.precision])
    return in_file * {"fp32": float_copies, "fp16": half_copies}.get(use.precision, integer_copies)


def _unknown(reason: str) -> Prediction:
    return Prediction(name="memory", value=None, low=None, high=None, unit="bytes", basis=reason)
