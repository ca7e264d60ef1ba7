"""Writes a quantization plan into a float graph, in the form that ExecuTorch's XNNPACK backend and coremltools lower.

The form is PT2E's: `quantized_decomposed.quantize_per_tensor` and `dequantize_per_tensor` around activations with fixed
grids, `dequantize_per_channel` on integer weights. Activations with grids chosen at run time and 4-bit weights in
groups use torchao's `choose_qparams_affine`, `quantize_affine` and `dequantize_affine`, as its own quantizer does.

Weights are symmetric, w = scale * q with |q| <= 127 and scale = max |w| / 127 for each output channel (Krishnamoorthi,
"Quantizing deep convolutional networks for efficient inference", 2018, section 3).
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.formats.realisation import FusingKernels
from edgekit.model import OpenSizes
from edgekit.quantization.grouped_weights import round_groups
from edgekit.quantization.pt2e_bias import correct_bias, corrected_layers
from edgekit.quantization.pt2e_even_channels import even_out, float_activations
from edgekit.quantization.pt2e_graph import (
    FloatGraph,
    add_constant,
    constant_of,
    drop_unread_tensors,
    shape_of,
    target_of,
)
from edgekit.quantization.pt2e_plan import (
    CONCATENATION,
    CONVOLUTIONS,
    EMBEDDING,
    LINEAR,
    TRANSPOSED_CONVOLUTIONS,
    WEIGHTED,
    QuantizationPlan,
    label_of,
    parted_grids,
    plan_quantization,
)
from edgekit.quantization.pt2e_ranges import Calibration, calibrate
from edgekit.quantization.ranges import Grid, Range, affine_grid, symmetric_grid
from edgekit.quantization.tables import has_table
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples
from edgekit.torch_program.open_sizes import bounds_of
from edgekit.torch_program.torch_protocols import Graph, Node
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

INT8_LOW: Final = -128
INT8_HIGH: Final = 127
_WEIGHT_HIGH: Final = 127
_INT4_HIGH: Final = 7
_BIAS_HEADROOM: Final = 2.0**30  # an int32 accumulator holds the bias and as much again

_INTEGER_WEIGHTS: Final = frozenset({"int8_static", "int8_dynamic", "int8_weights", "int4_weights"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedGraph:
    """A graph with quantization written into it.

    Attributes:
        module: torch.fx.GraphModule, not exported yet.
        example_inputs: As in the float graph.
        grids: Grid of each quantized tensor, by the name of the node that makes it.
        fallbacks: What the recipe wanted as integers and stays float.
        open_sizes: As in the float graph.
    """

    module: GraphModule
    example_inputs: tuple[Tensor, ...]
    grids: Mapping[str, Grid]
    fallbacks: tuple[str, ...]
    open_sizes: OpenSizes | None = None


def quantize_graph(
    graph: FloatGraph, recipe: Recipe, kernels: FusingKernels, calibration: Path | None, progress: Progress
) -> QuantizedGraph:
    """Returns `graph` (changed in place) with the recipe written into it.

    Args:
        graph: Simplified float graph.
        recipe: Precision of each part.
        kernels: Whose kernels decide what is fused and what stays float.
        calibration: Sample folder; needed where the recipe needs it.
        progress: Callback that gets how far calibration is.
    """
    # Importing these modules registers their operators with torch.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    importlib.import_module("torchao.quantization.quant_primitives")
    if kernels == "xnnpack":
        importlib.import_module("executorch.exir.passes._quant_patterns_and_replacements")

    plan = plan_quantization(graph.module, recipe, kernels)
    found = Calibration()
    # Core ML's kernels fuse activations: there is no grid before them.
    even = float_activations(graph.module, plan) if kernels == "xnnpack" and recipe.per_channel else ()
    if plan.ranged and calibration is not None:
        found = calibrate(
            graph,
            plan.ranged,
            corrected_layers(graph.module, plan),
            Samples.open(calibration),
            recipe.ranges,
            progress,
            graph.learned_ranges,
            [node.name for item in even for node in item.scaled],
        )
    plan = parted_grids(plan, found.ranges)
    plan, found = even_out(graph.module, plan, found, even)
    grids = tensor_grids(plan, found.ranges, symmetric=recipe.symmetric_activations)
    writer = _Writer(module=graph.module, plan=plan, recipe=recipe, kernels=kernels, grids=grids, means=found.means)
    fallbacks = writer.write()
    return QuantizedGraph(
        module=graph.module,
        example_inputs=graph.example_inputs,
        grids=grids,
        fallbacks=(*plan.fallbacks, *fallbacks),
        open_sizes=graph.open_sizes,
    )


def export_graph(graph: QuantizedGraph | FloatGraph) -> ExportedProgram:
    """Returns the graph as an ExportedProgram, with its open sizes."""
    import torch

    graph.module.recompile()
    opened = graph.open_sizes
    bounds = None if opened is None else tuple(bounds_of(opened.inputs, opened.dimensions))
    with torch.no_grad():
        return torch.export.export(graph.module, graph.example_inputs, dynamic_shapes=bounds, strict=False)


def tensor_grids(plan: QuantizationPlan, ranges: Mapping[str, Range], *, symmetric: bool) -> dict[str, Grid]:
    """Returns one grid for each quantized tensor: that of its group's range."""
    of_group: dict[str, Range] = {}
    for name, group in plan.group_of.items():
        if name in ranges:
            found, seen = ranges[name], of_group.get(group, Range(low=0.0, high=0.0))
            of_group[group] = Range(low=min(seen.low, found.low), high=max(seen.high, found.high))
    made = {
        group: symmetric_grid(found, INT8_HIGH) if symmetric else affine_grid(found, INT8_LOW, INT8_HIGH)
        for group, found in of_group.items()
    }
    return {name: made[group] for name, group in plan.group_of.items()}


def channel_scales(weight: Tensor, axis: int, high: int) -> Tensor:
    """Returns the symmetric scale of each channel of `weight` along `axis`, float32, shape (channels,).

    A channel of zeros gets the largest scale of the tensor: its own would be 0, which no runtime accepts.
    """
    import torch

    flat = weight.detach().to(torch.float32).transpose(0, axis).reshape(weight.shape[axis], -1)
    scales = flat.abs().amax(dim=1) / high
    spare = scales.max() if float(scales.max()) > 0 else torch.tensor(1.0)
    return torch.where(scales > 0, scales, spare)


@final
class _Writer:
    """Inserts quantize and dequantize nodes."""

    def __init__(
        self,
        *,
        module: GraphModule,
        plan: QuantizationPlan,
        recipe: Recipe,
        kernels: FusingKernels,
        grids: Mapping[str, Grid],
        means: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self._module = module
        self._graph: Graph = module.graph
        self._plan = plan
        self._recipe = recipe
        self._kernels: FusingKernels = kernels
        self._grids = grids
        self._means = means
        self._weights: dict[tuple[str, str], tuple[Node, ...]] = {}
        self._fallbacks: list[str] = []

    def write(self) -> tuple[str, ...]:
        """Writes everything; returns what had to stay float."""
        # Weights first: their bias limits need the float graph's edges.
        for node in list(self._graph.nodes):
            precision = self._plan.weighted.get(node.name)
            if precision in _INTEGER_WEIGHTS:
                self._write_weights(node, precision)
        nodes = list(self._graph.nodes)
        for node in nodes:
            if node.name in self._grids:
                self._write_grid(node, self._grids[node.name])
        # Tables last: a table's node is replaced, and grids are found by the name of the node that they follow.
        for node in nodes:
            if target_of(node) == EMBEDDING and self._plan.weighted.get(node.name) in _INTEGER_WEIGHTS:
                self._write_embedding(node)
        self._graph.eliminate_dead_code()
        drop_unread_tensors(self._module)
        self._graph.lint()
        self._module.recompile()
        return tuple(self._fallbacks)

    def _write_grid(self, tensor: Node, grid: Grid) -> None:
        """Puts `tensor` on its grid. Each reader gets a dequantization of its own: partitioners look for such pairs."""
        import torch

        operators = torch.ops.quantized_decomposed
        arguments = _on_grid(grid)
        every = tensor.name in self._plan.integer
        readers = [u for u in tensor.users if every or u.name in self._plan.integer or u.name in self._plan.transparent]
        if not readers:
            return
        anchor = tensor.next
        while anchor.op == "placeholder":
            anchor = anchor.next
        with self._graph.inserting_before(anchor):
            quantized = self._graph.call_function(operators.quantize_per_tensor.default, (tensor, *arguments))
        self._describe(quantized, tensor)
        for reader in readers:
            with self._graph.inserting_before(reader):
                back = self._graph.call_function(operators.dequantize_per_tensor.default, (quantized, *arguments))
            self._describe(back, tensor)
            wanted = self._grids.get(reader.name)
            if target_of(reader) == CONCATENATION and wanted is not None and wanted != grid:
                back = self._moved_to_grid(back, reader, wanted)
            reader.replace_input_with(tensor, back)

    def _moved_to_grid(self, value: Node, reader: Node, grid: Grid) -> Node:
        """Puts an input of a concatenation that has a grid of its own onto the concatenation's."""
        import torch

        operators = torch.ops.quantized_decomposed
        with self._graph.inserting_before(reader):
            stored = self._graph.call_function(operators.quantize_per_tensor.default, (value, *_on_grid(grid)))
            back = self._graph.call_function(operators.dequantize_per_tensor.default, (stored, *_on_grid(grid)))
        self._describe(stored, reader)
        self._describe(back, reader)
        return back

    def _write_weights(self, node: Node, precision: Precision) -> None:
        target = target_of(node)
        if target == EMBEDDING:
            return
        if target not in WEIGHTED:
            self._fallbacks.append(label_of(node))
        elif precision == "int8_static" or self._kernels == "mil":
            self._write_stored_weights(node, precision)
        elif precision == "int4_weights" and target == LINEAR and self._groups_fit(node):
            self._write_dynamic_linear(node, bits=4)
        elif target == LINEAR:
            self._write_dynamic_linear(node, bits=8)
        elif target in CONVOLUTIONS and len(shape_of(node)) == 4 and not _is_depthwise(self._module, node):
            self._write_dynamic_convolution(node)
        else:
            # XNNPACK's convolutions with run-time grids are two-dimensional and not depthwise.
            self._fallbacks.append(label_of(node))

    def _write_stored_weights(self, node: Node, precision: Precision) -> None:
        """Replaces the weight by a dequantization of integers; how a kernel computes with them is up to the runtime."""
        static = precision == "int8_static" and node.name in self._plan.integer
        if self._kernels == "mil" and not static and has_table(constant_of(self._module, node.args[1])):
            return  # a table of its own values is smaller than rounded ones, and exact
        if precision == "int8_static" and not static and self._kernels == "xnnpack":
            self._fallbacks.append(label_of(node))
        elif precision == "int4_weights" and target_of(node) == LINEAR and self._groups_fit(node):
            self._set_weight(node, self._grouped_weight(node, node.args[1], self._recipe.group_size))
        else:
            exact = constant_of(self._module, node.args[1])
            self._set_weight(node, self._channel_weight(node, self._bias_floor(node) if static else None))
            if static and node.name in self._means:
                correct_bias(self._module, node, exact, self._means[node.name])

    def _set_weight(self, node: Node, weight: Node) -> None:
        node.args = (node.args[0], weight, *node.args[2:])

    def _bias_floor(self, node: Node) -> Tensor | None:
        """Returns the least weight scale of each channel at which its bias fits the integer accumulator, or None.

        The accumulator's step is input scale * weight scale: tiny weights with a large bias would overflow it.
        """
        bias = constant_of(self._module, node.args[2]) if len(node.args) > 2 else None
        source = node.args[0].args[0] if node.args[0].name in self._plan.transparent else node.args[0]
        if bias is None or source.name not in self._grids:
            return None
        return bias.detach().abs() / (self._grids[source.name].scale * _BIAS_HEADROOM)

    def _channel_weight(self, node: Node, floor: Tensor | None) -> Node:
        import torch

        source = node.args[1]
        axis = 1 if target_of(node) in TRANSPOSED_CONVOLUTIONS else 0
        key = (str(source.target), f"int8:{axis}:{None if floor is None else node.name}")
        if key not in self._weights:
            weight = constant_of(self._module, source).detach()
            scales = channel_scales(weight, axis, _WEIGHT_HIGH)
            if not self._recipe.per_channel:
                scales = scales.max().expand_as(scales).contiguous()
            if floor is not None:
                scales = torch.maximum(scales, floor.to(torch.float32))
            shape = [1] * weight.ndim
            shape[axis] = -1
            stored = torch.clamp(torch.round(weight / scales.reshape(shape)), -_WEIGHT_HIGH, _WEIGHT_HIGH)
            zeros = torch.zeros(scales.shape, dtype=torch.int64)
            self._weights[key] = self._constants(str(source.target), stored.to(torch.int8), scales, zeros)
        return self._dequantize(node, self._weights[key], axis)

    def _dequantize(self, node: Node, stored: tuple[Node, ...], axis: int) -> Node:
        import torch

        function = torch.ops.quantized_decomposed.dequantize_per_channel.default
        with self._graph.inserting_before(node):
            made = self._graph.call_function(function, (*stored, axis, -_WEIGHT_HIGH, _WEIGHT_HIGH, torch.int8))
        self._describe(made, node)
        return made

    def _constants(self, name: str, *tensors: Tensor) -> tuple[Node, ...]:
        first = next(iter(self._graph.nodes))
        suffixes = ("integers", "scales", "zero_points")
        return tuple(
            add_constant(self._module, first, f"{name}_{suffix}", tensor)
            for suffix, tensor in zip(suffixes, tensors, strict=False)
        )

    def _write_embedding(self, node: Node) -> None:
        """Stores a table as integers with scales for each row; one of single columns stays: scales are no smaller."""
        source = node.args[0]
        columns = int(constant_of(self._module, source).shape[1])
        if columns == 1:
            return
        four_bits = self._plan.weighted[node.name] == "int4_weights"
        group = self._recipe.table_group(columns) if four_bits else None
        if self._kernels == "mil":
            made = (
                self._grouped_weight(node, source, group) if group else self._dequantize(node, self._table(source), 0)
            )
            node.args = (made, *node.args[1:])
            return
        self._look_up(node, source, group)

    def _look_up(self, node: Node, source: Node, group: int | None) -> None:
        """Puts ExecuTorch's own operator in the place of a table's node: it gathers integers."""
        import torch

        operators = torch.ops.quantized_decomposed
        if group is None:
            function, stored = operators.embedding_byte.default, self._table(source)
            limits = (-_WEIGHT_HIGH, _WEIGHT_HIGH)
        else:
            function, stored = operators.embedding_4bit.default, self._packed_table(source, group)
            limits = (-_INT4_HIGH - 1, _INT4_HIGH)
        with self._graph.inserting_before(node):
            made = self._graph.call_function(function, (stored[0], stored[1], None, *limits, node.args[1]))
        self._describe(made, node)
        node.replace_all_uses_with(made)
        self._graph.erase_node(node)

    def _table(self, source: Node) -> tuple[Node, ...]:
        """Returns a table's integers of 8 bits with their scales and zero points, one for each row."""
        import torch

        key = (str(source.target), "table")
        if key not in self._weights:
            weight = constant_of(self._module, source).detach()
            scales = channel_scales(weight, 0, _WEIGHT_HIGH)
            stored = torch.clamp(torch.round(weight / scales[:, None]), -_WEIGHT_HIGH, _WEIGHT_HIGH).to(torch.int8)
            zeros = torch.zeros(scales.shape, dtype=torch.int64)
            self._weights[key] = self._constants(str(source.target), stored, scales, zeros)
        return self._weights[key]

    def _packed_table(self, source: Node, group: int) -> tuple[Node, ...]:
        """Returns a table's integers of 4 bits, two a byte, and the scales of each row's groups."""
        import torch

        key = (str(source.target), "table4")
        if key not in self._weights:
            found = round_groups(constant_of(self._module, source).detach().float().numpy(), group)
            packed = torch.from_numpy(found.packed(even_high=True))
            self._weights[key] = self._constants(str(source.target), packed, torch.from_numpy(found.scales))
        return self._weights[key]

    def _groups_fit(self, node: Node) -> bool:
        return bool(constant_of(self._module, node.args[1]).shape[1] % self._recipe.group_size == 0)

    def _grouped_weight(self, node: Node, source: Node, size: int) -> Node:
        """Returns a dequantization of 4-bit weights with a scale for each group of `size` columns."""
        import torch

        key = (str(source.target), f"int4:{size}")
        if key not in self._weights:
            found = round_groups(constant_of(self._module, source).detach().float().numpy(), size)
            integers, scales = torch.from_numpy(found.integers), torch.from_numpy(found.scales)
            zeros = torch.zeros(scales.shape, dtype=torch.int8)
            self._weights[key] = self._constants(str(source.target), integers, scales, zeros)
        return self._affine(node, self._weights[key], [1, size], -_INT4_HIGH - 1, _INT4_HIGH)

    def _affine(self, node: Node, stored: tuple[Node, ...], block: list[int], low: int, high: int) -> Node:
        import torch

        integers, scales, zeros = stored
        with self._graph.inserting_before(node):
            made = self._graph.call_function(
                torch.ops.torchao.dequantize_affine.default, (integers, block, scales, zeros, torch.int8, low, high)
            )
        self._describe(made, node)
        return made

    def _write_dynamic_linear(self, node: Node, bits: int) -> None:
        """Quantizes a linear layer's input at run time, one grid for each row of the last axis."""
        import torch

        source = node.args[0]
        # The result has the input's rank, and unlike the input it is a node of the float graph with a known shape.
        block = [1] * (len(shape_of(node)) - 1) + [int(constant_of(self._module, node.args[1]).shape[1])]
        size = self._recipe.group_size
        weight = self._grouped_weight(node, node.args[1], size) if bits == 4 else self._channel_weight(node, None)
        operators = torch.ops.torchao
        with self._graph.inserting_before(node):
            call = self._graph.call_function
            found = call(
                operators.choose_qparams_affine.default,
                (source, "ASYMMETRIC", block, torch.int8, INT8_LOW, INT8_HIGH, None, None, torch.int8),
            )
            scale, zero = call(operator.getitem, (found, 0)), call(operator.getitem, (found, 1))
            limits = (torch.int8, INT8_LOW, INT8_HIGH)
            stored = call(operators.quantize_affine.default, (source, block, scale, zero, *limits))
            back = call(operators.dequantize_affine.default, (stored, block, scale, zero, *limits))
        node.args = (back, weight, *node.args[2:])

    def _write_dynamic_convolution(self, node: Node) -> None:
        """Quantizes a convolution's input at run time, one grid for the whole tensor."""
        import torch

        weight, source = self._channel_weight(node, None), node.args[0]
        operators = torch.ops.quantized_decomposed
        limits = (INT8_LOW, INT8_HIGH, torch.int8)
        with self._graph.inserting_before(node):
            call = self._graph.call_function
            found = call(operators.choose_qparams.tensor, (source, INT8_LOW, INT8_HIGH, 2.0**-24, torch.int8))
            scale, zero = call(operator.getitem, (found, 0)), call(operator.getitem, (found, 1))
            stored = call(operators.quantize_per_tensor.tensor, (source, scale, zero, *limits))
            back = call(operators.dequantize_per_tensor.tensor, (stored, scale, zero, *limits))
        node.args = (back, weight, *node.args[2:])

    def _describe(self, node: Node, like: Node) -> None:
        """Gives a new node the module names of the node that it serves."""
        stack = like.meta.get("nn_module_stack")
        if stack is not None:
            node.meta["nn_module_stack"] = stack


def _on_grid(grid: Grid) -> tuple[object, ...]:
    """Returns the arguments by which quantize and dequantize operators take a grid."""
    import torch

    return (grid.scale, grid.zero_point, INT8_LOW, INT8_HIGH, torch.int8)


def _is_depthwise(module: GraphModule, node: Node) -> bool:
    groups = node.args[6] if len(node.args) > 6 else 1
    return bool(groups > 1 and constant_of(module, node.args[1]).shape[1] == 1)
